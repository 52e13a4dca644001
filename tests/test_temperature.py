"""Exports with calibrated probabilities: softmax(logits / T), by every format."""

import json
import os

import keras
import numpy as np
import pytest
from records import record
from scalenet_training.errors import UsageError
from scalenet_training.evaluate.report.facts import read_facts
from scalenet_training.export.config import ExportConfig
from scalenet_training.export.temperature import Temperature, read_temperature
from scalenet_training.networks.saved_network import SavedNetwork
from scalenet_training.settings.inputs import check_inputs
from test_export import NAMES, PHOTOS, TRANSFORM, calibration, classifier, evaluated

from scalenet_tf import export
from scalenet_tf.export.checking import ends_in_softmax
from scalenet_tf.export.classifier import Classifier
from scalenet_tf.export.metadata import check_metadata
from scalenet_tf.export.verification import softmax_of

T = 2.5


FORMATS = {form.name: form for form in export.FORMATS}
KINDS = [
    pytest.param("savedmodel", {}, 1e-6, marks=pytest.mark.slow),
    pytest.param("tflite", {}, 1e-6, marks=pytest.mark.slow),
    ("tflite", {"quantization": "int8"}, 0.05),
    ("onnx", {}, 1e-6),
    pytest.param("openvino", {}, 1e-6, marks=pytest.mark.slow),  # of the ONNX model
]


@pytest.fixture(scope="module")
def model():
    return classifier()


def written(form, model, folder, **options):
    """The path of an export in a format."""
    path = str(folder / f"a{'' if form.suffix is None else form.suffix}")
    quantization = options.get("quantization")
    batches = calibration() if quantization == "int8" else None
    content = export.Exportable(
        model, TRANSFORM, NAMES, calibration=batches, temperature=T
    )
    form.loaded.write(content, path, form.options(options))
    return path


def test_a_classifier_divides_its_logits_for_its_probabilities_alone(model):
    images = evaluated()
    own, calibrated = (
        Classifier(model, fold=False, temperature=value)(images) for value in (1.0, T)
    )
    np.testing.assert_array_equal(calibrated["logits"], own["logits"])
    expected = softmax_of(own["logits"].numpy(), T)
    np.testing.assert_allclose(calibrated["probabilities"], expected, atol=1e-6)
    assert np.abs(own["probabilities"] - expected).max() > 1e-3


@pytest.mark.parametrize(("name", "options", "bound"), KINDS, ids=str)
def test_every_format_divides_the_logits_for_its_probabilities_alone(
    name, options, bound, model, tmp_path, monkeypatch
):
    form = FORMATS[name]
    path = written(form, model, tmp_path, **options)
    exported = export.open_exported(path)
    assert exported.temperature == T
    images = evaluated().numpy()
    logits, probabilities = (
        exported.outputs(images, output) for output in ("logits", "probabilities")
    )
    np.testing.assert_allclose(probabilities, softmax_of(logits, T), atol=bound)
    assert np.abs(probabilities - softmax_of(logits, 1)).max() > 1e-3
    own = model.predict(images, verbose=0)  # the network's own probabilities
    np.testing.assert_allclose(softmax_of(logits, 1), own, atol=max(bound, 1e-4))
    if not options:  # of every function, those of a server too
        assert export.verify(model, path, PHOTOS).passed
    read = form.loaded.read_metadata
    if name == "onnx":  # as if it had forgotten its temperature
        monkeypatch.setattr(
            form.loaded, "read_metadata", lambda file: read(file) | {"temperature": 1.0}
        )
        result = export.verify(model, path, PHOTOS)
        assert not result.passed
        assert result.error > 1e-3


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf, 101, "1", True])
def test_a_temperature_is_a_number_within_bounds(value, model, tmp_path):
    with pytest.raises(export.ExportError, match="`temperature` must be a number from"):
        export.convert_tflite(
            model, tmp_path / "a.tflite", TRANSFORM, NAMES, temperature=value
        )
    assert not os.listdir(tmp_path)
    content = {"image_size": 32, "resize": 32, "normalization": "none"}
    with pytest.raises(ValueError, match=r"field 'temperature' of .* must be a"):
        check_metadata({**content, "class_names": ["a"], "temperature": value})


def report(folder, **changes):
    """A folder with the report.json of an evaluation."""
    facts = {
        "model": "runs/a",
        "dataset": "digits",
        "eval_split": "validation",
        "examples": 9,
        "classes": 10,
        "top1_error": 0.5,
        "loss": 1.5,
        "calibration": {"temperature": 1.75},
    }
    (folder / "report.json").write_text(json.dumps(facts | changes))
    return str(folder)


def test_a_temperature_is_a_number_or_a_reports(tmp_path):
    assert read_temperature(None) == Temperature(1.0)
    assert read_temperature("0.5") == Temperature(0.5)
    folder = report(tmp_path)
    found = read_temperature(folder)
    assert found == read_temperature(os.path.join(folder, "report.json"))
    assert found.value == 1.75
    assert found.fitted_to == {
        "dataset": "digits",
        "eval_split": "validation",
        "examples": 9,
        "classes": 10,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"calibration": {"temperature": None}}, "has none that fits best"),
        ({"calibration": {"temperature": 1e9}}, "must be a number from 0.01 to 100"),
        (
            {"calibration": {"temperature": 2.0, "applied_temperature": 2.0}},
            "is of an export that has a temperature itself",
        ),
        (
            {"trained_on": "9"},
            "is no report of an evaluation: its field 'trained_on' is no whole number",
        ),
        ({"examples": "9"}, "is no report of an evaluation: it has no field 'examples"),
    ],
)
def test_a_report_without_a_temperature_is_an_error(changes, message, tmp_path):
    with pytest.raises((UsageError, export.ExportError), match=message):
        read_temperature(report(tmp_path, **changes))


@pytest.mark.parametrize(
    ("split", "seen", "message"),
    [
        ("all", 1, "is of 9 images, and the run was trained on 1 of them"),
        ("train[:100%]", 9, "is of 9 images, and the run was trained on 9 of them"),
        ("train", None, "is of the images that the run was trained on"),
        ("all", None, None),  # of an earlier version, or an export
        ("validation", 0, None),
    ],
)
def test_a_report_of_images_that_were_trained_on_is_refused(
    split, seen, message, tmp_path
):
    found = read_temperature(report(tmp_path, eval_split=split, trained_on=seen))
    network = SavedNetwork("best.keras", record())
    if message is None:
        found.check(network, 10)
    else:
        with pytest.raises(UsageError, match=f"the report {message}"):
            found.check(network, 10)


def test_a_report_of_another_network_is_refused(tmp_path):
    """Of as many classes, on the same images: the run of another seed, or epoch."""
    (tmp_path / "best.keras").write_bytes(b"one")
    network = SavedNetwork(str(tmp_path / "best.keras"), record())
    own = read_temperature(report(tmp_path, network_sha256=network.digest))
    own.check(network, 10)
    (tmp_path / "best.keras").write_bytes(b"two")
    message = "the report is of another network or epoch than '.*best.keras'"
    with pytest.raises(UsageError, match=message):
        own.check(network, 10)


@pytest.mark.parametrize("text", ["cold", "-1", "nan"])
def test_what_is_no_temperature_is_an_error_before_anything(text, tmp_path):
    config = ExportConfig(str(tmp_path), name="a", temperature=text)

    def read():
        check_inputs(config)
        read_temperature(text)

    with pytest.raises(ValueError, match="`temperature` must be a number from 0"):
        read()
    with pytest.raises(UsageError, match=r"none.json' is no report of an evaluation"):
        read_facts(str(tmp_path / "none.json"))


def test_softmax_is_known_in_all_of_its_forms():
    model = classifier(classifier_activation=None)
    for softmax in (
        keras.layers.Softmax(),
        keras.layers.Activation("softmax"),
        keras.ops.softmax,
    ):
        assert ends_in_softmax(keras.Model(model.inputs, softmax(model.outputs[0])))
    assert ends_in_softmax(model)
    other = keras.ops.softmax(2 * model.outputs[0])
    assert not ends_in_softmax(keras.Model(model.inputs, other))


def test_other_probabilities_than_those_of_softmax_have_no_temperature(tmp_path):
    model = classifier(classifier_activation="sigmoid")
    with pytest.raises(
        export.ExportError, match="`temperature` must be 1 for 'tinycifar'"
    ):
        export.convert_onnx(model, tmp_path / "a.onnx", TRANSFORM, NAMES, temperature=T)
    export.convert_onnx(model, tmp_path / "a.onnx", TRANSFORM, NAMES)
    assert export.verify(model, tmp_path / "a.onnx", PHOTOS[:1]).passed
    found = export.open_exported(tmp_path / "a.onnx").outputs(
        evaluated(), "probabilities"
    )
    np.testing.assert_allclose(found, model(evaluated()), atol=1e-5)
