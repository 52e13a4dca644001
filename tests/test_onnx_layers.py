"""Layers beside those of the networks: written as they compute, or refused by name."""

import re

import keras
import numpy as np
import pytest
from conftest import TINY_CIFAR

import scalenet_tf
from scalenet_tf.export import convert_onnx, open_exported
from scalenet_tf.layers import ScaleAggregation
from scalenet_tf.preprocessing import EvaluationTransform

TRANSFORM = EvaluationTransform(32, 32, "centered")
IMAGES = np.random.default_rng(0).uniform(-1, 1, (3, 32, 32, 3)).astype("float32")


def with_head(*layers, pooling=None):
    """A network with layers before its logits."""
    body = scalenet_tf.ScaleNet(
        TINY_CIFAR, include_top=False, pooling=pooling, input_shape=(32, 32, 3)
    )
    x = body.output
    for layer in layers:
        x = layer(x)
    if pooling is None:
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return keras.Model(body.input, keras.layers.Dense(4, name="logits")(x))


def wide(units=8):
    """A layer whose output has large entries of both signs."""
    kernel = keras.initializers.RandomNormal(stddev=9.0, seed=1)
    return keras.layers.Dense(units, kernel_initializer=kernel)


def convert(model, path):
    return convert_onnx(model, path, TRANSFORM, list("abcd"))


LAYERS = {
    "ReLU6": lambda: (wide(), keras.layers.ReLU(max_value=6.0)),
    "leaky": lambda: (wide(), keras.layers.ReLU(negative_slope=0.2)),
    "leaky with a largest value": lambda: (
        *(wide(), keras.layers.ReLU(negative_slope=0.2, max_value=1.0)),
    ),
    "normalisation": lambda: (
        *(wide(3), keras.layers.Normalization(mean=[1, 2, 3], variance=[4, 5, 6])),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_compute_as_in_keras(name, tmp_path):
    model = with_head(*LAYERS[name](), pooling="avg")
    path = tmp_path / "a.onnx"
    convert(model, path)
    found, expected = open_exported(path).logits(IMAGES), model.predict(IMAGES)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("kernel", [2, 3])
def test_a_dilated_convolution_is_padded_by_its_window(kernel, tmp_path):
    conv = keras.layers.Conv2D(4, kernel, padding="same", dilation_rate=2)
    model = with_head(conv)
    path = tmp_path / "a.onnx"
    convert(model, path)
    found, expected = open_exported(path).logits(IMAGES), model.predict(IMAGES)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


class Doubled(keras.layers.Dense):
    """A layer that computes something else than the one it inherits from."""

    def call(self, x):
        return 2 * super().call(x)


REFUSED = {
    "threshold 0.5": lambda: (keras.layers.ReLU(threshold=0.5),),
    "invert True": lambda: (
        *(
            wide(2),
            keras.layers.Normalization(mean=[1, 2], variance=[1, 1], invert=True),
        ),
    ),
    "a 'call' of its own": lambda: (Doubled(4),),
    "of a tensor of 4 dimensions": lambda: (keras.layers.Dense(3),),
    "keepdims True": lambda: (
        *(keras.layers.GlobalAveragePooling2D(keepdims=True), keras.layers.ReLU()),
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_has_no_onnx_is_refused_by_its_name(message, tmp_path):
    on_maps = "dimensions" in message or "keepdims" in message
    model = with_head(*REFUSED[message](), pooling=None if on_maps else "avg")
    with pytest.raises(ValueError, match=f"has the layer .* {re.escape(message)}, for"):
        convert(model, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


class AveragePooled(ScaleAggregation):
    """A variant of the block."""

    def pool(self, pooled, scale):
        return keras.ops.average_pool(pooled[1], scale, scale)


def test_a_variant_of_the_block_is_not_taken_for_the_block(tmp_path):
    model = scalenet_tf.ScaleNet(TINY_CIFAR, classes=4, sa_block=AveragePooled)
    with pytest.raises(ValueError, match=r"\(AveragePooled\) with a 'pool' of its own"):
        convert(model, tmp_path / "a.onnx")
