import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from conftest import TINY, TINY_CIFAR
from test_models import network, relative_error, slow_but

import scalenet_tf
from scalenet_tf import export
from scalenet_tf.preprocessing import EvaluationTransform, decode_image
from scalenet_tf.weights import pytorch_shapes

pytestmark = pytest.mark.runs

TRANSFORM = EvaluationTransform(32, 36, "cifar10")
NAMES = [f"Klasse {index} ä" for index in range(10)]
SIGNATURES = ("serving_default", "serving_uint8", "serving_bytes", "features")


def photo(height, width, seed=0, encode=tf.io.encode_jpeg):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3))
    pixels = tf.image.resize(coarse, (height, width), "bicubic")
    return encode(tf.cast(tf.clip_by_value(pixels, 0, 255), tf.uint8)).numpy()


PHOTOS = [
    photo(40, 60),
    photo(75, 33, 1),
    photo(36, 36, 2, tf.io.encode_png),
    photo(20, 24, 3),
]
TRUNCATED = PHOTOS[0][: len(PHOTOS[0]) // 2]


def classifier(architecture=TINY_CIFAR, **kwargs):
    model = scalenet_tf.ScaleNet(architecture, **{"classes": 10, **kwargs})
    weights = reference.generated_weights(pytorch_shapes(model))
    scalenet_tf.load_pytorch_weights(model, weights)
    return model


@pytest.fixture(scope="module")
def model():
    return classifier()


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    """An export with warm-up."""
    directory = tmp_path_factory.mktemp("repository") / "tiny" / "1"
    export.save_savedmodel(
        model,
        directory,
        TRANSFORM,
        NAMES,
        warmup_images=PHOTOS[:3],
        warmup_batch_sizes=(1, 4),
    )
    return directory


@pytest.fixture(scope="module")
def signatures(saved):
    return tf.saved_model.load(saved).signatures


@pytest.fixture(scope="module")
def refusing(model, tmp_path_factory):
    """The signatures of an export that refuses corrupt images and names all classes."""
    directory = tmp_path_factory.mktemp("refusing") / "1"
    export.save_savedmodel(
        model, directory, TRANSFORM, NAMES, on_corrupt="error", top_k=99
    )
    signatures = tf.saved_model.load(directory).signatures
    assert signatures["serving_default"](images=evaluated())["classes"].shape == (4, 10)
    return signatures


def evaluated(photos=PHOTOS):
    """The network's input as the training package evaluates."""
    transform = EvaluationTransform(32, 36, "cifar10")
    return tf.stack([transform(decode_image(data)) for data in photos])


def test_every_signature_gives_what_keras_gives(model, saved):
    result = export.verify_savedmodel(model, saved, PHOTOS)
    assert set(result.errors) == set(SIGNATURES)
    assert result.error < 1e-5
    assert (result.agreement, result.images, result.bound) == (1.0, 4, 1e-5)
    assert result.passed


def test_outputs_are_named_and_batch_first(model, signatures):
    x = evaluated()
    expected = model.predict(x, verbose=0)
    outputs = signatures["serving_default"](images=x)
    assert set(outputs) == {"logits", "probabilities", "classes", "labels"}
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-6)
    order = np.argsort(-expected, axis=1)[:, :5]
    np.testing.assert_array_equal(outputs["classes"], order)
    labels = [[NAMES[index].encode() for index in row] for row in order]
    assert outputs["labels"].numpy().tolist() == labels
    pooled = keras.Model(model.input, model.get_layer("avg_pool").output)
    features = signatures["features"](images=x)["features"]
    assert relative_error(features.numpy(), pooled(x).numpy()) < 1e-5


def test_encoded_images_and_pixels_are_taken_as_evaluation_takes_them(signatures):
    expected = signatures["serving_default"](images=evaluated())["logits"]
    encoded = signatures["serving_bytes"](image_bytes=tf.constant(PHOTOS))["logits"]
    np.testing.assert_allclose(encoded, expected, rtol=1e-5, atol=1e-6)
    for row, data in zip(expected, PHOTOS, strict=True):
        pixels = decode_image(tf.constant(data))[tf.newaxis]
        logits = signatures["serving_uint8"](images=pixels)["logits"]
        np.testing.assert_allclose(logits[0], row, rtol=1e-5, atol=1e-6)


def test_signatures_run_in_a_session_as_tensorflow_serving_runs_them(saved, signatures):
    feeds = {
        "serving_default": ("images", evaluated().numpy()),
        "serving_uint8": ("images", np.full((2, 50, 40, 3), 99, np.uint8)),
        "serving_bytes": ("image_bytes", np.array(PHOTOS, object)),
        "features": ("images", evaluated().numpy()),
    }
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(saved))
        assert {*graph.signature_def} - {"__saved_model_init_op"} == {*SIGNATURES}
        results = {}
        for key, (name, value) in feeds.items():
            definition = graph.signature_def[key]
            outputs = {n: info.name for n, info in definition.outputs.items()}
            feed = {definition.inputs[name].name: value}
            results[key] = session.run(outputs, feed)
    for key, (name, value) in feeds.items():
        for output, expected in signatures[key](**{name: tf.constant(value)}).items():
            if expected.dtype == tf.float32:
                np.testing.assert_allclose(results[key][output], expected, atol=1e-5)
            else:
                np.testing.assert_array_equal(results[key][output], expected)


def test_neither_keras_nor_this_package_is_needed(saved, signatures):
    code = (
        "import json, sys\n"
        "for name in ('keras', 'tf_keras', 'scalenet_tf', 'scalenet_training'):\n"
        "    sys.modules[name] = None\n"
        "import tensorflow as tf\n"
        f"run = tf.saved_model.load({str(saved)!r}).signatures['serving_bytes']\n"
        f"outputs = run(image_bytes=tf.constant({PHOTOS[:2]!r}))\n"
        "print(json.dumps(outputs['logits'].numpy().tolist()))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    run = signatures["serving_bytes"]
    expected = run(image_bytes=tf.constant(PHOTOS[:2]))["logits"]
    np.testing.assert_allclose(json.loads(result.stdout), expected, atol=1e-6)


def test_warmup_has_requests_of_each_signature_and_size(saved, signatures):
    from tensorflow_serving.apis import prediction_log_pb2

    path = str(saved / "assets.extra" / "tf_serving_warmup_requests")
    sizes = []
    for record in tf.data.TFRecordDataset(path):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        run = signatures[request.model_spec.signature_name]
        inputs = {
            name: tf.constant(tf.make_ndarray(proto))
            for name, proto in request.inputs.items()
        }
        outputs = run(**inputs)
        (size,) = {output.shape[0] for output in outputs.values()}
        sizes.append((request.model_spec.signature_name, size))
        if request.model_spec.signature_name == "serving_bytes" and size == 4:
            (values,) = inputs.values()
            assert values.numpy().tolist() == [*PHOTOS[:3], PHOTOS[0]]
    assert sizes == [(name, size) for name in SIGNATURES for size in (1, 4)]


@pytest.mark.parametrize("corrupt", [b"no image", b"", TRUNCATED], ids=len)
def test_a_corrupt_image_is_an_error_where_that_was_asked_for(refusing, corrupt):
    batch = tf.constant([PHOTOS[0], PHOTOS[1], corrupt, PHOTOS[2]])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"indices .*\[2\]"):
        refusing["serving_bytes"](image_bytes=batch)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"indices .*\[0\]"):
        refusing["serving_bytes"](image_bytes=tf.constant([corrupt]))


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("serving_bytes", {"image_bytes": tf.constant([], tf.string)}),
        ("serving_uint8", {"images": tf.zeros((0, 40, 40, 3), tf.uint8)}),
        ("features", {"images": tf.zeros((0, 32, 32, 3))}),
    ],
)
def test_an_empty_batch_is_an_error(signatures, name, inputs):
    with pytest.raises(tf.errors.InvalidArgumentError, match="1 to 16384 "):
        signatures[name](**inputs)


def test_corrupt_images_are_flagged_and_the_others_answered(signatures):
    run = signatures["serving_bytes"]
    batch = [b"", PHOTOS[0], TRUNCATED, PHOTOS[3], b"no image"]
    outputs = run(image_bytes=tf.constant(batch))
    good = np.array([False, True, False, True, False])
    np.testing.assert_array_equal(outputs["valid"], good)
    expected = signatures["serving_default"](images=evaluated([batch[1], batch[3]]))
    np.testing.assert_allclose(
        outputs["logits"][good], expected["logits"], rtol=1e-5, atol=1e-6
    )
    for key, blank in [("logits", 0), ("probabilities", 0), ("classes", -1)]:
        assert (outputs[key].numpy()[~good] == blank).all()
    assert (outputs["labels"].numpy()[~good] == b"").all()
    outputs = run(image_bytes=tf.constant([b"", b""]))
    assert not outputs["valid"].numpy().any()


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({"classifier_activation": None, "input_shape": (None, None, 3)}, {}),
        ({"classifier_activation": "sigmoid"}, {"fold": False}),
    ],
    ids=str,
)
def test_other_models(options, settings, tmp_path):
    model = classifier(**options)
    export.save_savedmodel(model, tmp_path / "1", TRANSFORM, NAMES, **settings)
    assert export.verify_savedmodel(model, tmp_path / "1", PHOTOS[:1]).passed
    run = tf.saved_model.load(tmp_path / "1").signatures["serving_default"]
    x = evaluated()
    expected = model(x)
    if options.get("classifier_activation", "") is None:
        expected = tf.nn.softmax(expected)
    np.testing.assert_allclose(run(images=x)["probabilities"], expected, atol=1e-6)
    if model.input_shape[1] is None:
        exported = export.open_exported(tmp_path / "1")
        for shape in [(1, 47, 40, 3), (2, 2, 2, 3)]:
            images = np.random.default_rng(0).standard_normal(shape, np.float32)
            found = exported.run(images)
            assert relative_error(found, np.asarray(model(images))) < 1e-5
        with pytest.raises(ValueError, match=r"sides of 2 or more. .*\(1, 1, 40, 3\)"):
            exported.run(np.zeros((1, 1, 40, 3), np.float32))


@pytest.mark.parametrize("constants", [False, True])
def test_weights_are_variables_unless_constants_are_asked_for(constants, tmp_path):
    model = classifier()
    export.save_savedmodel(model, tmp_path / "1", TRANSFORM, NAMES, constants=constants)
    loaded = tf.saved_model.load(tmp_path / "1")
    kept = loaded.signatures["serving_default"].variables
    assert len(kept) == (
        0 if constants else len(scalenet_tf.fold_batch_norm(model).weights)
    )
    found = loaded.signatures["serving_default"](images=evaluated())["probabilities"]
    np.testing.assert_allclose(found, model(evaluated()), atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_other_data_types(policy, tmp_path):
    if policy == "float64":
        keras.config.set_floatx(policy)
    keras.config.set_dtype_policy(policy)
    model = classifier()
    export.save_savedmodel(model, tmp_path / "1", TRANSFORM, NAMES)
    saved = export.verify_savedmodel(model, tmp_path / "1", PHOTOS[:1])
    export.convert_tflite(
        model, tmp_path / "a.tflite", TRANSFORM, NAMES, input_type="uint8"
    )
    converted = export.verify_tflite(model, tmp_path / "a.tflite", PHOTOS)
    for result in (saved, converted):
        assert result.bound == (1e-5 if policy == "float64" else None)
        assert result.error < (1e-5 if policy == "float64" else 0.05)


def test_what_a_client_must_know_is_in_the_export(saved):
    content = export.read_metadata(saved)
    assert content["class_names"] == NAMES
    assert content["top_k"] == 5
    assert (content["image_size"], content["resize"]) == (32, 36)
    assert content["normalization"] == "cifar10"
    assert content["mean"] == [0.4914, 0.4822, 0.4465]
    assert content["standard_deviation"] == [0.2470, 0.2435, 0.2616]


def test_metadata_of_something_else_are_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no exported model at"):
        export.read_metadata(tmp_path / "missing")
    (tmp_path / "a.tflite").write_bytes(b"something")
    for path in (tmp_path, tmp_path / "a.tflite"):
        with pytest.raises(ValueError, match="was not exported by scalenet_tf"):
            export.read_metadata(path)


def test_an_existing_folder_is_an_error_and_stays(model, tmp_path):
    (tmp_path / "1").mkdir()
    with pytest.raises(FileExistsError, match="`directory` must not exist"):
        export.save_savedmodel(model, tmp_path / "1", TRANSFORM, NAMES)
    assert os.listdir(tmp_path) == ["1"]
    assert not os.listdir(tmp_path / "1")


@pytest.mark.parametrize("existing", [False, True])
def test_a_failing_export_leaves_nothing_behind(model, tmp_path, monkeypatch, existing):
    def full_disk(network, directory, **kwargs):
        os.mkdir(directory)
        (pathlib.Path(directory) / "saved_model.pb").write_bytes(b"half")
        raise OSError("no space left on device")

    if existing:
        (tmp_path / "repository" / "tiny").mkdir(parents=True)
    before = list(tmp_path.rglob("*"))
    monkeypatch.setattr(tf.saved_model, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        export.save_savedmodel(
            model, tmp_path / "repository" / "tiny" / "1", TRANSFORM, NAMES
        )
    assert list(tmp_path.rglob("*")) == before


def test_versions_count_up_past_leftovers(tmp_path):
    assert export.next_version(tmp_path / "missing") == 1
    assert export.next_version(tmp_path) == 1
    for name in ("1", "9", "10", ".writing-x", "11.tmp", "twelve", "-13"):
        (tmp_path / name).mkdir()
    assert export.next_version(tmp_path) == 11


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": NAMES[:9]}, r"`class_names` must have one .* 10 classes.* 9"),
        ({"transform": EvaluationTransform(40, 40)}, r"`transform.image_size`.*=40"),
        ({"top_k": 0}, r"`top_k` must be at least 1. Received: top_k=0"),
        ({"on_corrupt": "skip"}, r"`on_corrupt` must be one of.*'skip'"),
        ({"warmup_batch_sizes": [2, 0]}, r"`warmup_batch_sizes`.*\[2, 0\]"),
        ({"warmup_batch_sizes": [16385]}, r"`warmup_batch_sizes` .* 1 to 16384, "),
        ({"warmup_images": [PHOTOS[0], b"x"]}, r"image 1 .*cannot be decoded"),
    ],
)
def test_arguments_that_do_not_fit_are_errors(model, tmp_path, changes, message):
    arguments = {"transform": TRANSFORM, "class_names": NAMES, **changes}
    with pytest.raises(ValueError, match=message):
        export.save_savedmodel(model, tmp_path / "new" / "1", **arguments)
    assert not os.listdir(tmp_path)


def test_models_that_cannot_be_exported_are_errors(tmp_path):
    topless = scalenet_tf.ScaleNet(TINY_CIFAR, include_top=False)
    grey = scalenet_tf.ScaleNet(TINY_CIFAR, input_shape=(32, 32, 1), classes=10)
    raw = keras.Input((32, 32, 3), dtype="uint8")
    pixels = classifier(input_tensor=scalenet_tf.preprocess_input(raw))
    for model, message in [
        (topless, "with its top"),
        (grey, r"RGB images.*\(None, 32, 32, 1\)"),
        (pixels, "floating type.*uint8"),
    ]:
        with pytest.raises(ValueError, match=message):
            export.save_savedmodel(model, tmp_path / "1", TRANSFORM, NAMES)
        with pytest.raises(ValueError, match=message):
            export.convert_tflite(model, tmp_path / "a.tflite", TRANSFORM, NAMES)


def test_missing_packages_are_errors_with_the_command(
    model, saved, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis.predict_pb2", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ImportError, match=r"pip install 'scalenet_tf\[export\]'"):
        export.save_savedmodel(
            model, tmp_path / "1", TRANSFORM, NAMES, warmup_images=PHOTOS
        )
    assert not os.listdir(tmp_path)
    export.convert_tflite(model, tmp_path / "a.tflite", TRANSFORM, NAMES)
    with pytest.raises(ImportError, match=r"pip install 'scalenet_tf\[export\]'"):
        export.verify_tflite(model, tmp_path / "a.tflite", PHOTOS)


def test_verification_sees_another_model_and_wants_images(model, saved):
    other = classifier()
    other.get_layer("logits").bias.assign_add(np.eye(10)[3] * 50)
    result = export.verify_savedmodel(other, saved, PHOTOS)
    assert not result.passed
    assert result.agreement < 1
    assert not dataclasses.replace(result, errors={"x": float("nan")}).passed
    with pytest.raises(ValueError, match="an image or more"):
        export.verify_savedmodel(model, saved, [])


def calibration():
    return (evaluated([photo(50, 40, seed)]) for seed in range(4, 20))


@pytest.mark.parametrize(
    ("quantization", "input_type", "bound"),
    [
        ("none", "float32", 1e-5),
        ("none", "uint8", 1e-5),
        ("float16", "float32", 5e-3),
        ("dynamic", "float32", 0.1),
        ("int8", "float32", 0.1),
        ("int8", "uint8", 0.1),
    ],
)
def test_tflite_files_give_what_keras_gives(
    model, tmp_path, quantization, bound, input_type
):
    from ai_edge_litert.interpreter import Interpreter

    path = tmp_path / "new" / "a.tflite"
    export.convert_tflite(
        model,
        path,
        TRANSFORM,
        NAMES,
        quantization=quantization,
        input_type=input_type,
        calibration=calibration() if quantization == "int8" else None,
    )
    result = export.verify_tflite(model, path, PHOTOS)
    assert result.passed
    assert result.error < bound
    assert result.agreement == 1
    assert os.listdir(path.parent) == ["a.tflite"]
    content = export.read_metadata(path)
    assert content["class_names"] == NAMES
    assert (content["quantization"], content["input_type"]) == (
        quantization,
        input_type,
    )
    assert "CONV_2D" in content["operations"]
    assert not {*content["operations"]} & {"CUSTOM", "TRANSPOSE", "BATCH_MATMUL"}
    (details,) = Interpreter(str(path)).get_input_details()
    assert details["shape"].tolist() == [1, 32, 32, 3]
    assert details["dtype"] == np.dtype(input_type)
    if (quantization, input_type) == ("int8", "uint8"):
        assert details["quantization"] == (1.0, 0)  # a pixel is its own quantum


@pytest.fixture(scope="module")
def tiny_model():
    return classifier(TINY)


@pytest.mark.parametrize(
    "quantization", [pytest.param("none", marks=pytest.mark.slow), "int8"]
)
def test_tflite_of_all_that_the_published_networks_have(
    tiny_model, quantization, tmp_path
):
    transform = EvaluationTransform(56, 64)
    path = tmp_path / "a.tflite"
    batches = [transform(decode_image(data))[tf.newaxis] for data in PHOTOS]
    export.convert_tflite(
        tiny_model,
        path,
        transform,
        NAMES,
        quantization=quantization,
        calibration=batches if quantization == "int8" else None,
    )
    bound = 1e-5 if quantization == "none" else 0.1
    assert export.verify_tflite(tiny_model, path, PHOTOS).error < bound
    assert "RESIZE_BILINEAR" in export.read_metadata(path)["operations"]


def test_a_failing_conversion_leaves_what_was_there(model, tmp_path, monkeypatch):
    path = tmp_path / "a.tflite"
    path.write_text("old")
    with pytest.raises(ValueError, match="TFLite's own: Digamma"):
        export.convert_tflite(
            classifier(classifier_activation=tf.math.digamma), path, TRANSFORM, NAMES
        )

    def full_disk(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(export.tflite, "append_metadata", full_disk)
    with pytest.raises(OSError, match="no space"):
        export.convert_tflite(model, tmp_path / "new" / "b", TRANSFORM, NAMES)
    assert os.listdir(tmp_path) == ["a.tflite"]
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantization": "int4"}, r"`quantization` must be one of.*'int4'"),
        ({"input_type": "int8"}, r"`input_type` must be one of.*'int8'"),
        ({"quantization": "int8"}, r"`calibration` must be given for.*None"),
        ({"calibration": []}, r"`calibration` .* for no other.*'none'"),
        ({"quantization": "int8", "calibration": []}, r"must have images"),
    ],
)
def test_conversions_that_cannot_be_are_errors(model, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        export.convert_tflite(model, tmp_path / "a.tflite", TRANSFORM, NAMES, **options)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", slow_but(set()))
def test_published_networks(name, tmp_path):
    model = network(name)
    side, classes = model.input_shape[1], model.output_shape[1]
    transform = EvaluationTransform(side, side * 8 // 7)
    names = [str(index) for index in range(classes)]
    export.save_savedmodel(
        model, tmp_path / "1", transform, names, warmup_images=PHOTOS
    )
    result = export.verify_savedmodel(model, tmp_path / "1", PHOTOS)
    assert result.passed, result
    for quantization in ("none", "float16"):
        path = tmp_path / f"{quantization}.tflite"
        export.convert_tflite(model, path, transform, names, quantization=quantization)
        result = export.verify_tflite(model, path, PHOTOS)
        assert result.passed, result
