"""ONNX files, and exported models run by other runtimes than TensorFlow's."""

import json
import os
import shutil
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY
from situations import situation
from test_export import NAMES, PHOTOS, TRANSFORM, classifier, evaluated
from test_models import network, relative_error, slow_but

from scalenet_tf import export
from scalenet_tf.export import savedmodel
from scalenet_tf.preprocessing import (
    STATISTICS,
    EvaluationTransform,
    decode_image,
    preprocess_input,
)

for extra in ("onnx", "openvino"):
    pytest.importorskip(extra, reason=f"needs the extra `{extra}`")


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
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("Transpose") == 1
    assert "Pad" not in kinds  # it is an attribute of the stem's convolution and pool


@pytest.mark.parametrize("name", slow_but(set()))
def test_onnx_of_the_published_networks(name, tmp_path):
    model = network(name)
    side, classes = model.input_shape[1], model.output_shape[1]
    names = [str(index) for index in range(classes)]
    path = tmp_path / "a.onnx"
    export.convert_onnx(model, path, EvaluationTransform(side, side), names)
    result = export.verify_onnx(model, path, PHOTOS)
    assert result.passed, result


def test_an_unknown_output_is_named(files):
    opened = export.open_exported(files["openvino"])
    with pytest.raises(ValueError, match=r"`output` must be one of .* Received: 'pro'"):
        opened.outputs(evaluated().numpy(), "pro")


def test_an_openvino_model_gives_what_keras_gives(model, files):
    result = export.verify(model, files["openvino"], PHOTOS)
    assert result.passed
    assert (result.bound, result.agreement, result.images) == (1e-5, 1.0, 4)
    assert sorted(os.listdir(files["openvino"])) == [
        "model.bin",
        "model.xml",
        "scalenet.json",
    ]
    probabilities = export.open_exported(files["openvino"]).outputs(
        evaluated().numpy(), "probabilities"
    )
    np.testing.assert_allclose(probabilities, model(evaluated()), atol=1e-6)
    with pytest.raises(FileExistsError, match="`directory` must not exist"):
        export.convert_openvino(model, files["openvino"], TRANSFORM, NAMES)


def test_metadata_of_an_onnx_file(onnx_file, tmp_path):
    content = export.read_metadata(onnx_file)
    assert content["class_names"] == NAMES
    assert (content["image_size"], content["resize"]) == (32, 36)
    (tmp_path / "other.onnx").write_bytes(b"something")
    with pytest.raises(ValueError, match="was not exported by scalenet_tf"):
        export.read_metadata(tmp_path / "other.onnx")


@pytest.mark.parametrize("normalization", STATISTICS)
def test_an_onnx_file_of_pixels_normalises_them_itself(normalization, tmp_path):
    """Its input says so: raw pictures, and nothing else, are what it takes."""
    import onnxruntime

    inputs = scaled = keras.Input((32, 32, 3))
    if normalization == "none":
        scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    model, path = classifier(input_tensor=scaled), tmp_path / "a.onnx"
    transform = EvaluationTransform(32, 36, normalization)
    export.convert_onnx(model, path, transform, NAMES, input_type="uint8")
    session = onnxruntime.InferenceSession(path)
    (images,) = session.get_inputs()
    expected = ("images", "tensor(uint8)", ["batch", 32, 32, 3])
    assert (images.name, images.type, images.shape) == expected
    assert [output.name for output in session.get_outputs()] == [
        "logits",
        "probabilities",
    ]
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    (found,) = session.run(["logits"], {"images": pixels})
    wanted = model_logits(model, preprocess_input(pixels, normalization))
    assert relative_error(found, wanted) < 1e-5


def no_onnx_operation(x):
    return tf.math.igamma(x, x)


def test_an_onnx_file_of_logits_gives_probabilities_too(tmp_path):
    model, path = classifier(classifier_activation=None), tmp_path / "a.onnx"
    export.convert_onnx(model, path, TRANSFORM, NAMES)
    assert export.verify_onnx(model, path, PHOTOS).passed
    exported = export.open_exported(path)
    assert exported.logits(IMAGES).shape == (3, 10)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_padding_pools_and_strides_around_a_network(padding):
    """Padding of negative numbers, odd sides and strides: as Keras computes them."""
    import onnxruntime

    from scalenet_tf.export.onnx.graph import onnx_graph

    layers = keras.layers
    inputs = keras.Input((13, 13, 3))
    x = layers.ZeroPadding2D(((1, 2), (0, 3)))(inputs)
    x = layers.MaxPooling2D(3, 2, padding)(x)
    x = layers.Conv2D(4, 3, 2, padding, activation="tanh")(x)
    x = layers.ZeroPadding2D(1)(x)
    x = layers.Conv2D(5, 2, padding=padding, use_bias=False)(x)
    x = layers.Add()([x, x, x])
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, layers.Dense(2, "sigmoid", name="result")(x))
    graph = onnx_graph(model, ["result"], 13)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    x = np.random.default_rng(0).standard_normal((2, 13, 13, 3), np.float32)
    (found,) = session.run(["result"], {"images": x})
    np.testing.assert_allclose(found, model(x, training=False), atol=1e-6)


def test_a_layer_without_onnx_is_named():
    from scalenet_tf.export.onnx.graph import onnx_graph

    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.LayerNormalization(name="odd")(inputs))
    with pytest.raises(ValueError, match=r"layer 'odd', a LayerNormalization, for"):
        onnx_graph(model, ["odd"], 8)


def test_a_failing_conversion_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_text("old")
    with pytest.raises(ValueError, match="'no_onnx_operation' in the layer 'pred"):
        export.convert_onnx(
            classifier(classifier_activation=no_onnx_operation),
            path,
            TRANSFORM,
            NAMES,
        )
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.onnx"]


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_missing_packages_are_errors_with_the_command(
    model, onnx_file, tmp_path, monkeypatch, package
):
    monkeypatch.setitem(sys.modules, package, None)
    if package == "onnx":
        monkeypatch.delitem(sys.modules, "scalenet_tf.export.onnx.graph", False)
        function, arguments = (
            export.convert_onnx,
            (tmp_path / "a.onnx", TRANSFORM, NAMES),
        )
    else:
        function, arguments = export.verify_onnx, (onnx_file, PHOTOS)
    with pytest.raises(ImportError, match=r"pip install 'scalenet_tf\[onnx\]'"):
        function(model, *arguments)
    assert not os.listdir(tmp_path)


PIXELS = ("uint8", "onnx of pixels", "openvino of pixels")
KINDS = ("savedmodel", "float32", "onnx", "openvino", *PIXELS)


@pytest.fixture(scope="module")
def files(model, onnx_file, tmp_path_factory):
    """The network in every format."""
    folder = tmp_path_factory.mktemp("formats")
    paths = {"savedmodel": folder / "1", "onnx": onnx_file}
    export.save_savedmodel(model, paths["savedmodel"], TRANSFORM, NAMES)
    paths["openvino"] = folder / "new" / "openvino"
    export.convert_openvino(model, paths["openvino"], TRANSFORM, NAMES)
    paths["onnx of pixels"] = folder / "pixels.onnx"
    paths["openvino of pixels"] = folder / "pixels"
    for convert in (export.convert_onnx, export.convert_openvino):
        path = paths[f"{convert.__name__.removeprefix('convert_')} of pixels"]
        convert(model, path, TRANSFORM, NAMES, input_type="uint8")
    for kind in ("float32", "uint8"):
        paths[kind] = folder / f"{kind}.tflite"
        export.convert_tflite(model, paths[kind], TRANSFORM, NAMES, input_type=kind)
    return paths


@pytest.fixture(scope="module")
def opened(files):
    """The network in every format, ready to run."""
    return {kind: export.open_exported(files[kind]) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_all_formats_take_normalised_images(model, opened, kind):
    exported = opened[kind]
    assert exported.transform == TRANSFORM
    assert exported.takes_pixels == (kind in PIXELS)
    pixels = TRANSFORM.crop(decode_image(PHOTOS[1])[None])
    x = TRANSFORM.normalize(np.round(pixels)).numpy()
    assert relative_error(exported.logits(x), model_logits(model, x)) < 1e-5


IMAGES = np.full((3, 32, 32, 3), 0.5, np.float32)
SPOILT = np.where(np.arange(3)[:, None, None, None] == 1, np.nan, IMAGES)
SHAPE = "`images` must be (batch, 32, 32, 3), "
WRONG = {
    "numbers, [[1.0, 2.0]]": ([[1.0, 2.0]], SHAPE),
    "one image, not in a batch": (IMAGES[0], SHAPE),
    "images of another size": (IMAGES[:, :30], SHAPE),
    "grey images": (IMAGES[..., :1], SHAPE),
    "an empty batch": (IMAGES[:0], "1 or more images. Received: shape (0, 32"),
    "lists of different lengths": ([[1.0], [1.0, 2.0]], "`images` must be one array"),
    "NaN": (SPOILT, "NaN or an infinity in image 1 (counted from 0)"),
    "pixels as floats": (IMAGES * 400, "image 0 (counted from 0) with values from 20"),
    "pixels": (np.full((1, 32, 32, 3), 99), "must be of a floating type"),
}


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        pytest.param(
            *entry, marks=situation("images for an exported file", name), id=name
        )
        for name, entry in WRONG.items()
    ],
)
def test_all_formats_refuse_what_is_wrong_before_they_run(
    opened, images, reason, outcome
):
    messages = set()
    for kind, exported in opened.items():
        with pytest.raises(ValueError) as error:
            exported.logits(images)
        assert reason in str(error.value)
        messages.add(str(error.value))
        if kind not in PIXELS and getattr(images, "dtype", None) == np.float32:
            with pytest.raises(ValueError) as error:
                exported.run(images)
            assert str(error.value) in messages
    (message,) = messages
    outcome(f"ValueError: {message}")


@pytest.mark.parametrize("kind", PIXELS)
def test_pixels_are_taken_where_the_file_takes_them(kind, model, files, opened):
    assert export.read_metadata(files[kind])["input_type"] == "uint8"
    result = export.verify(model, files[kind], PHOTOS)
    assert result.passed
    assert (result.bound, result.agreement, result.images) == (1e-5, 1.0, 4)
    exported = opened[kind]
    assert exported.run(np.full((2, 32, 32, 3), 99, np.uint8)).shape == (2, 10)
    with pytest.raises(ValueError, match=r"uint8, pixels from 0 to 255.* float32"):
        exported.run(np.full((2, 32, 32, 3), 99, np.float32))
    with pytest.raises(ValueError, match=r"uint8, pixels from 0 to 255.*\(2, 32, 3, 3"):
        exported.run(np.full((2, 32, 3, 3), 99, np.uint8))


def test_a_tflite_file_of_any_name_is_known(files, tmp_path):
    shutil.copy(files["float32"], tmp_path / "model.lite")
    content = export.read_metadata(tmp_path / "model.lite")
    assert content == export.read_metadata(files["float32"])


def test_a_savedmodel_takes_more_images_than_a_request(opened, monkeypatch):
    images = np.random.default_rng(0).standard_normal((5, 32, 32, 3), np.float32)
    whole = opened["savedmodel"].run(images)
    monkeypatch.setattr(savedmodel, "largest_batch", lambda height, width: 2)
    assert relative_error(opened["savedmodel"].run(images), whole) < 1e-6


def test_a_savedmodel_of_an_older_version_is_run_as_before(files, opened, tmp_path):
    """Its metadata say nothing of sides; it was of the size of its images."""
    copy = tmp_path / "1"
    shutil.copytree(files["savedmodel"], copy)
    file = copy / "assets.extra" / "scalenet.json"
    content = json.loads(file.read_text())
    del content["image_sides"], content["smallest_side"]
    file.write_text(json.dumps(content))
    found = export.open_exported(copy)
    assert relative_error(found.run(IMAGES), opened["savedmodel"].run(IMAGES)) < 1e-6
    with pytest.raises(ValueError, match=r"\(batch, 32, 32, 3\), float32"):
        found.run(IMAGES[:, :30])


def model_logits(model, x):
    return keras.Model(model.input, model.get_layer("logits").output)(x).numpy()


def test_class_names_of_another_number_name_the_file(files, tmp_path):
    path = tmp_path / "model"
    shutil.copytree(files["savedmodel"], path)
    content = path / "assets.extra" / "scalenet.json"
    told = json.loads(content.read_text())
    content.write_text(json.dumps({**told, "class_names": [*told["class_names"], "b"]}))
    side = told["image_size"]
    with pytest.raises(export.ExportError, match=r"class names of its scalenet\.json"):
        export.open_exported(path).logits(np.zeros((1, side, side, 3), np.float32))


def test_pixels_are_what_was_normalised():
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    again = TRANSFORM.pixels(TRANSFORM.normalize(pixels).numpy())
    np.testing.assert_allclose(again, pixels, atol=1e-4)


def test_systems_that_do_not_tell_a_process_its_cores(monkeypatch):
    from scalenet_tf.export.runtime import available_cores

    assert available_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert available_cores() == os.cpu_count()
