import dataclasses
import pathlib
import re

import keras
import numpy as np
import pytest
from conftest import ALL_NETWORKS, TINY, TINY_CIFAR

import scalenet_tf

# Trainable parameters and MACs; building those of more than a billion takes long.
COUNTS = {
    "ScaleNetCifar38": (525_804, 57_362_944),
    "ScaleNetCifar56": (793_492, 84_316_160),
    "ScaleNetCifar101": (1_415_546, 151_230_464),
    "ScaleNet50Light": (23_631_912, 2_861_475_840),
    "ScaleNet50": (31_483_618, 3_818_372_352),
    "ScaleNet101": (54_792_390, 7_511_097_600),
    "ScaleNet152": (77_220_070, 11_211_951_616),
    "ResNetCifar38": (428_980, 57_353_216),
    "ResNetCifar56": (614_452, 84_091_904),
    "ResNetCifar101": (1_078_132, 150_938_624),
    "ResNet50": (25_557_032, 3_857_973_248),
    "ResNet101": (44_549_160, 7_570_194_432),
    "ResNet152": (60_192_808, 11_282_415_616),
}
QUICK = ("ScaleNetCifar38", "ScaleNet50Light", "ScaleNet50", "ResNetCifar38")


def test_the_readme_has_these_counts():
    readme = pathlib.Path(__file__).parents[1].joinpath("README.md").read_text()
    found = re.findall(r"\| `(\w+)`[^|]*\| ([\d,]+) \| ([\d,]+) \|", readme)
    written = {name: (parameters, macs) for name, parameters, macs in found}
    assert written == {name: (f"{p:,}", f"{m:,}") for name, (p, m) in COUNTS.items()}


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        pytest.param(name, *counts, marks=[] if name in QUICK else pytest.mark.slow)
        for name, counts in COUNTS.items()
    ],
)
def test_trainable_parameters_and_macs_are_exact(name, parameters, macs):
    model = scalenet_tf.create_model(name)
    weights = model.trainable_weights
    assert sum(weight.value.shape.num_elements() for weight in weights) == parameters
    assert scalenet_tf.count_macs(model) == macs


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@pytest.mark.parametrize("native_size", [29, 33, 45, 61])
def test_macs_of_the_data_are_those_of_the_model(stem, native_size):
    architecture = dataclasses.replace(TINY, stem=stem, native_size=native_size)
    model = scalenet_tf.ScaleNet(architecture, classes=7)
    assert architecture.macs(classes=7) == scalenet_tf.count_macs(model)


def test_macs_of_the_data_without_a_top_and_with_its_default():
    side = (TINY_CIFAR.native_size, TINY_CIFAR.native_size, 3)
    body = scalenet_tf.ScaleNet(TINY_CIFAR, include_top=False, input_shape=side)
    assert TINY_CIFAR.macs(classes=0) == scalenet_tf.count_macs(body)
    whole = scalenet_tf.ScaleNet(TINY_CIFAR)
    assert TINY_CIFAR.macs() == scalenet_tf.count_macs(whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL_NETWORKS)
def test_macs_of_the_data_are_those_of_every_model(name):
    model = scalenet_tf.create_model(name)
    architecture = scalenet_tf.get_architecture(name)
    assert architecture.macs() == scalenet_tf.count_macs(model)


def test_macs_of_small_maps_count_the_clamped_windows():
    layer = scalenet_tf.layers.ScaleAggregation([1, 1, 1], scales=(1, 2, 4))
    inputs = keras.Input((3, 8, 2))
    model = keras.Model(inputs, layer(inputs))
    assert scalenet_tf.count_macs(model) == 9 * 2 * (3 * 8 + 1 * 4 + 1 * 2)


def test_macs_of_a_model_around_a_model():
    inner = scalenet_tf.ScaleNetCifar38(include_top=False, input_shape=(32, 32, 3))
    inputs = keras.Input((32, 32, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inner(inputs))
    outer = keras.Model(inputs, keras.layers.Dense(10)(pooled))
    assert scalenet_tf.count_macs(outer) == scalenet_tf.count_macs(inner) + 2560


def test_unknown_input_size_is_an_error():
    model = scalenet_tf.ScaleNetCifar38(input_shape=(None, None, 3))
    with pytest.raises(ValueError, match="`model` must have a static input size"):
        scalenet_tf.count_macs(model)


def test_models_inside_models_count_at_the_size_that_they_are_called_with(tiny):
    body = scalenet_tf.ScaleNet(tiny, include_top=False)  # of any size
    model = keras.Sequential(
        [
            keras.Input((56, 56, 3)),
            body,
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )
    sized = scalenet_tf.ScaleNet(tiny, include_top=False, input_shape=(56, 56, 3))
    channels = sized.output_shape[-1]
    assert scalenet_tf.count_macs(model) == scalenet_tf.count_macs(sized) + 3 * channels
    with pytest.raises(ValueError, match="`model` must have a static input size"):
        scalenet_tf.count_macs(body)
    assert body.layers[1].output is not None  # it has no more calls than before


def test_models_inside_models_may_have_outputs_by_name(tiny):
    body = scalenet_tf.ScaleNet(tiny, classes=3, input_shape=(None, None, 3))
    inner = keras.Model(body.inputs, {"a": body.outputs[0]})
    x = keras.Input((56, 56, 3))
    sized = scalenet_tf.ScaleNet(tiny, classes=3)
    model = keras.Model(x, inner(x)["a"])
    assert scalenet_tf.count_macs(model) == scalenet_tf.count_macs(sized)


def test_a_count_draws_no_random_numbers(tiny):
    body = scalenet_tf.ScaleNet(tiny, include_top=False)
    inputs = keras.Input((56, 56, 3))
    model = keras.Model(inputs, body(inputs))
    drawn = []
    for count in (False, True):
        keras.utils.set_random_seed(3)
        if count:
            scalenet_tf.count_macs(model)
        drawn.append(keras.layers.Dense(2)(np.ones((1, 2), "f4")).numpy())
    np.testing.assert_array_equal(*drawn)


def test_a_network_of_each_frame_counts_for_each(tiny):
    body = scalenet_tf.ScaleNet(tiny, include_top=False, pooling="avg")
    sized = scalenet_tf.ScaleNet(tiny, include_top=False, input_shape=(56, 56, 3))
    frames = keras.Input((4, 56, 56, 3))
    x = keras.layers.TimeDistributed(body)(frames)
    x = keras.layers.TimeDistributed(keras.layers.Dense(7))(x)
    expected = scalenet_tf.count_macs(sized) + 7 * body.output_shape[-1]
    assert scalenet_tf.count_macs(keras.Model(frames, x)) == 4 * expected


class Around(keras.layers.Layer):
    def __init__(self, inner, **options):
        super().__init__(**options)
        self.inner = inner

    def call(self, x):
        return self.inner(x)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def call(self, x):
        return self.dense(x)


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (lambda: keras.layers.LSTM(3), "LSTM"),
        (lambda: keras.layers.EinsumDense("abc,cd->abd", (None, 3)), "EinsumDense"),
        (lambda: keras.layers.Conv1D(3, 1), "Conv1D"),
        (lambda: lambda x: keras.ops.matmul(x, x), "Matmul"),
        (lambda: lambda x: keras.layers.Attention()([x, x]), "Attention"),
        (
            lambda: keras.layers.SpectralNormalization(keras.layers.Dense(3)),
            "SpectralNormalization",
        ),
        (lambda: Around(keras.layers.Dense(3)), "Around"),
        (Subclassed, "Subclassed"),
    ],
)
def test_what_is_not_counted_is_an_error(layer, kind):
    inputs = keras.Input((4, 4))
    model = keras.Model(inputs, layer()(inputs))
    with pytest.raises(ValueError, match=rf"MACs of layer .* \({kind}\) cannot be"):
        scalenet_tf.count_macs(model)


def test_layers_without_products_count_nothing():
    x = inputs = keras.Input((8,))
    for layer in (
        keras.layers.Embedding(3, 4),
        keras.layers.LayerNormalization(axis=(1, 2)),
        keras.layers.PReLU(),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5),
    ):
        x = layer(x)
    assert scalenet_tf.count_macs(keras.Model(inputs, x)) == 0


@pytest.mark.parametrize(
    "model", [Subclassed(), keras.Sequential([keras.layers.Dense(2)]), "model"]
)
def test_a_count_needs_a_graph(model):
    with pytest.raises(ValueError, match="`model` must be a functional model, or a"):
        scalenet_tf.count_macs(model)


def test_a_layer_counts_as_often_as_it_is_called():
    dense = keras.layers.Dense(5)
    x = keras.Input((5,))
    assert scalenet_tf.count_macs(keras.Model(x, dense(dense(x)))) == 50
