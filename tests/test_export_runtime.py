"""ONNX files, and exported models run by other runtimes than TensorFlow's."""

import os
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY
from test_export import NAMES, PHOTOS, TRANSFORM, classifier, evaluated
from test_models import network, relative_error, slow_but

from scalenet_tf import export
from scalenet_tf.preprocessing import EvaluationTransform, decode_image

pytest.importorskip("tf2onnx", reason="needs the extra `onnx`")


@pytest.fixture(scope="module")
def model():
    return classifier()


@pytest.fixture(scope="module")
def onnx_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "new" / "a.onnx"
    export.convert_onnx(model, path, TRANSFORM, NAMES)
    return path


def test_an_onnx_file_gives_what_keras_gives(model, onnx_file):
    import onnxruntime

    result = export.verify_onnx(model, onnx_file, PHOTOS)
    assert result.passed
    assert (result.bound, result.agreement, result.images) == (1e-5, 1.0, 4)
    assert os.listdir(onnx_file.parent) == ["a.onnx"]
    session = onnxruntime.InferenceSession(onnx_file)
    (images,) = session.get_inputs()
    assert (images.name, images.shape) == ("images", ["batch", 32, 32, 3])
    x = evaluated().numpy()
    probabilities, logits = session.run(["probabilities", "logits"], {"images": x})
    assert logits.shape == (4, 10)
    np.testing.assert_allclose(probabilities, model(x), atol=1e-6)


def test_onnx_of_all_that_the_published_networks_have(tmp_path):
    """Maps of 3 pixels to 14 too: a factor in float32 gives 13."""
    import onnx

    model, path = classifier(TINY), tmp_path / "a.onnx"
    export.convert_onnx(model, path, EvaluationTransform(56, 64), NAMES)
    assert export.verify_onnx(model, path, PHOTOS).passed
    graph = onnx.load(path).graph
    modes = {
        onnx.helper.get_node_attr_value(node, "mode")
        for node in graph.node
        if node.op_type == "Resize"
    }
    assert modes == {b"linear", b"nearest"}
    # At the input and before the pooled map's mean or the dense layer, at most.
    assert sum(node.op_type == "Transpose" for node in graph.node) <= 3


@pytest.mark.parametrize("name", slow_but(set()))
def test_onnx_of_the_published_networks(name, tmp_path):
    model = network(name)
    side, classes = model.input_shape[1], model.output_shape[1]
    names = [str(index) for index in range(classes)]
    path = tmp_path / "a.onnx"
    export.convert_onnx(model, path, EvaluationTransform(side, side), names)
    result = export.verify_onnx(model, path, PHOTOS)
    assert result.passed, result


def test_metadata_of_an_onnx_file(onnx_file, tmp_path):
    content = export.read_metadata(onnx_file)
    assert content["class_names"] == NAMES
    assert (content["image_size"], content["resize"]) == (32, 36)
    (tmp_path / "other.onnx").write_bytes(b"something")
    with pytest.raises(ValueError, match="was not exported by scalenet_tf"):
        export.read_metadata(tmp_path / "other.onnx")


def no_onnx_operation(x):
    return tf.math.igamma(x, x)


def test_a_failing_conversion_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_text("old")
    with pytest.raises(ValueError, match=r"ONNX does not have.*Igamma"):
        export.convert_onnx(
            classifier(classifier_activation=no_onnx_operation),
            path,
            TRANSFORM,
            NAMES,
        )
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.onnx"]


@pytest.mark.parametrize("package", ["tf2onnx", "onnx", "onnxruntime"])
def test_missing_packages_are_errors_with_the_command(
    model, onnx_file, tmp_path, monkeypatch, package
):
    monkeypatch.setitem(sys.modules, package, None)
    if package == "tf2onnx":
        function, arguments = export.convert_onnx, (tmp_path / "a", TRANSFORM, NAMES)
    else:
        function, arguments = export.verify_onnx, (onnx_file, PHOTOS)
    with pytest.raises(ImportError, match=r"pip install 'scalenet_tf\[onnx\]'"):
        function(model, *arguments)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("kind", ["savedmodel", "float32", "uint8", "onnx"])
def test_all_formats_take_normalised_images(model, onnx_file, tmp_path, kind):
    path = onnx_file
    if kind == "savedmodel":
        path = tmp_path / "1"
        export.save_savedmodel(model, path, TRANSFORM, NAMES)
    elif kind != "onnx":
        path = tmp_path / "a.tflite"
        export.convert_tflite(model, path, TRANSFORM, NAMES, input_type=kind)
    opened = export.open_exported(path)
    assert opened.transform == TRANSFORM
    assert opened.takes_pixels == (kind == "uint8")
    pixels = TRANSFORM.crop(decode_image(PHOTOS[1])[None])
    x = TRANSFORM.normalize(np.round(pixels)).numpy()
    assert relative_error(opened.logits(x), model_logits(model, x)) < 1e-5


def model_logits(model, x):
    return keras.Model(model.input, model.get_layer("logits").output)(x).numpy()


def test_pixels_are_what_was_normalised():
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    again = TRANSFORM.pixels(TRANSFORM.normalize(pixels).numpy())
    np.testing.assert_allclose(again, pixels, atol=1e-4)
