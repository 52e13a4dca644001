"""Networks that normalise their pixels themselves, by a layer of Keras in front."""

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from conftest import TINY_CIFAR
from situations import situation
from test_export import PHOTOS

import scalenet_tf
from scalenet_tf import export
from scalenet_tf.decoding import decode_image
from scalenet_tf.preprocessing import EvaluationTransform
from scalenet_tf.weights import pytorch_shapes

AREA = "models that Keras has changed"
NAMES = ["a", "b", "c"]
PIXELS = EvaluationTransform(32, 32, "none")
WRITERS = {
    "SavedModel": (export.save_savedmodel, "model", {}),
    "TFLite": (export.convert_tflite, "model.tflite", {}),
    "TFLite of pixels": (export.convert_tflite, "u8.tflite", {"input_type": "uint8"}),
    "ONNX": (export.convert_onnx, "model.onnx", {}),
    "OpenVINO": (export.convert_openvino, "openvino", {}),
}


def rescaling():
    return keras.layers.Rescaling(1 / 127.5, offset=-1, name="mine")


def normalization():
    layer = keras.layers.Normalization(name="mine")
    layer.adapt(photos())
    return layer


LAYERS = {"Rescaling": rescaling, "Normalization": normalization}


def photos():
    images = (decode_image(tf.constant(data)) for data in PHOTOS)
    return np.stack([PIXELS.crop(image).numpy() for image in images])


def network(layer=None):
    inputs = keras.Input((32, 32, 3))
    model = scalenet_tf.ScaleNet(
        TINY_CIFAR, classes=3, input_tensor=inputs if layer is None else layer(inputs)
    )
    weights = reference.generated_weights(pytorch_shapes(model))
    scalenet_tf.load_pytorch_weights(model, weights)
    return model


def test_none_leaves_pixels_as_they_are():
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    left = scalenet_tf.preprocess_input(pixels, "none")
    np.testing.assert_array_equal(left, pixels)
    assert left.dtype == np.float32
    np.testing.assert_array_equal(PIXELS.normalize(tf.constant(pixels)), pixels)
    assert PIXELS.value_range == (0, 255)


def combinations():
    """All; quick are those of one layer, and of ONNX, which writes each its own way."""
    for layer in LAYERS:
        for kind in WRITERS:
            quick = layer == "Rescaling" or kind == "ONNX"
            marks = () if quick else pytest.mark.slow
            yield pytest.param(layer, kind, marks=marks, id=f"{layer}-{kind}")


@pytest.mark.parametrize(("layer", "kind"), [*combinations()])
def test_exports_of_every_format_normalise_once(layer, kind, tmp_path):
    write, name, options = WRITERS[kind]
    model = network(LAYERS[layer]())
    expected = model(photos()).numpy()
    if layer == "Rescaling":
        plain = network()
        centered = scalenet_tf.preprocess_input(photos(), "centered")
        np.testing.assert_allclose(plain(centered), expected, atol=1e-6)
    write(model, tmp_path / name, PIXELS, NAMES, **options)
    images = np.rint(photos())  # what takes whole numbers rounds
    expected = model(images).numpy()
    exported = export.open_exported(tmp_path / name)
    found = exported.outputs(images, "probabilities")
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(ValueError, match="Received") as refused:
        exported.outputs(np.full((1, 32, 32, 3), 1e9, "f4"), "probabilities")
    assert "must go through preprocess_input" not in str(refused.value)


def test_encoded_images_are_normalised_once(tmp_path):
    model = network(rescaling())
    export.save_savedmodel(model, tmp_path / "model", PIXELS, NAMES)
    loaded = tf.saved_model.load(tmp_path / "model")
    answer = loaded.signatures["serving_bytes"](image_bytes=tf.constant(PHOTOS))
    images = tf.stack([PIXELS(decode_image(tf.constant(data))) for data in PHOTOS])
    np.testing.assert_allclose(answer["probabilities"], model(images), atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(
            name, marks=situation(AREA, f"export: {name} in front, normalised again")
        )
        for name in LAYERS
    ],
)
def test_a_second_normalisation_is_refused(layer, tmp_path, outcome):
    transform = EvaluationTransform(32, 32, "imagenet")
    with pytest.raises(export.ExportError) as refused:
        export.save_savedmodel(
            network(LAYERS[layer]()), tmp_path / "model", transform, NAMES
        )
    assert str(refused.value) == (
        "`normalization` must be 'none' for 'tinycifar', which normalises pixels from "
        "0 to 255 itself, by its layer 'mine'. Received: 'imagenet'."
    )
    assert not (tmp_path / "model").exists()
    outcome("refused, naming the layer and the normalization 'none'")


def test_a_network_inside_a_model_is_pointed_to(tmp_path):
    model = keras.Sequential([keras.Input((32, 32, 3)), rescaling(), network()])
    with pytest.raises(export.ExportError) as refused:
        export.save_savedmodel(model, tmp_path / "model", PIXELS, NAMES)
    assert str(refused.value).endswith(
        "Pass the network inside it: model.get_layer('tinycifar')."
    )
