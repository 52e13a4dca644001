"""The table of formats: a format from outside the package, and errors that are bugs."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import types
import typing

import numpy as np
import pytest
import tensorflow as tf
from scalenet_training.benchmark.config import ExportSpeedConfig
from scalenet_training.benchmark.export_speed import measure_export
from scalenet_training.errors import UsageError
from scalenet_training.evaluate.config import EvaluateConfig
from scalenet_training.evaluate.exported import evaluate_exported
from scalenet_training.export.config import ExportConfig, Format
from scalenet_training.export.exporter import export_model
from scalenet_training.predict.config import PredictConfig
from scalenet_training.predict.prediction import predict_files
from test_commands import in_process
from test_export import NAMES, PHOTOS, TRANSFORM

import scalenet_tf
from scalenet_tf import export
from scalenet_tf.decoding import decode_image
from scalenet_tf.export import classifier

GUIDE = pathlib.Path(__file__).parent.parent / "docs" / "export.md"


def format_of_the_guide():
    """The format that docs/export.md adds, from its own lines."""
    section = GUIDE.read_text().partition("## Adding a format")[2]
    code = section.partition("```python\n")[2].partition("```")[0]
    module = sys.modules["format_of_the_guide"] = types.ModuleType(
        "format_of_the_guide"
    )
    exec(compile(code, str(GUIDE), "exec"), vars(module))
    return dataclasses.replace(
        module.FOLDED, variants={"Folded Keras": {}}, packages=("numpy",)
    )


FOLDED = format_of_the_guide()
ALL = (*export.FORMATS, FOLDED)


@pytest.fixture(scope="module")
def alone(exports, tmp_path_factory):
    """A .keras file that is not in a run's folder; a file with names of its classes."""
    folder = tmp_path_factory.mktemp("alone")
    exports.model.save(folder / "alone.keras")
    (folder / "names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    return str(folder / "alone.keras"), str(folder / "names.txt")


@pytest.fixture
def settings(alone, exports, tmp_path):
    """What an export of the file needs."""
    return {
        "run_or_model": alone[0],
        "name": "tiny",
        "to": str(tmp_path / "models"),
        "images": str(exports.images),
        "class_names": alone[1],
        "normalization": TRANSFORM.normalization,
        "eval_resize": TRANSFORM.resize,
    }


def test_a_format_from_outside_goes_through_every_command(
    settings, alone, exports, tmp_path
):
    path, verification = export_model(ExportConfig(**settings, format="folded"), ALL)
    place = tmp_path / "models" / "tiny" / "folded" / "1"
    assert path == str(place / "tiny.folded.keras")
    assert verification.passed
    assert (verification.bound, verification.images) == (1e-5, 4)
    card = json.loads((place / "model_card.json").read_text())
    assert card["export"]["format"] == "folded"
    assert card["versions"]["numpy"] == np.__version__

    data = {"dataset": "digits", "eval_split": "validation[:20]"}
    result = evaluate_exported(EvaluateConfig(path, compare=alone[0], **data), ALL)
    assert (result["examples"], result["agreement"]) == (20, 1)
    assert result["top1_error"] == result["compared_top1_error"]

    found = predict_files(PredictConfig((str(exports.images),), path, top_k=10), ALL)
    inputs = tf.stack([TRANSFORM(decode_image(data)) for data in PHOTOS])
    rows = exports.model(inputs).numpy()
    for row, prediction in zip(rows, found.values(), strict=True):
        classes = list(prediction.classes)
        np.testing.assert_allclose(prediction.probabilities, row[classes], atol=1e-5)
        assert prediction.names == tuple(NAMES[number] for number in classes)

    with pytest.raises(export.ExportError, match=r"it is none of the folder of a Sav"):
        export.open_exported(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"format": "gif"},
            "`format` must be one of ('savedmodel', 'tflite', 'onnx'",
        ),
        ({"format": "folded", "top_k": 3}, "`top_k` is for `format` savedmodel. Rec"),
        (
            {"format": "onnx", "no_fold": True},
            "`no_fold` is for `format` savedmodel. Received: `format` onnx.",
        ),
        (
            {"format": "folded", "calibration_dir": "x"},
            "`calibration_dir` is for `format` tflite. Received: `format` folded.",
        ),
        (
            {"format": "tflite", "quantization": "int4"},
            "`quantization` must be one of ('none', 'float16', 'dynamic', 'int8'). "
            "Received: int4.",
        ),
    ],
    ids=str,
)
def test_options_are_those_of_the_format(options, message, settings, tmp_path):
    with pytest.raises(UsageError) as error:
        export_model(ExportConfig(**settings, **options), ALL)
    assert message in str(error.value)
    assert not (tmp_path / "models").exists()


def test_the_command_has_every_format_and_option():
    names = tuple(entry.name for entry in export.FORMATS)
    assert typing.get_args(Format) == names
    flags = dict.fromkeys(("top_k", "on_corrupt", "quantization"), 0)
    given = ExportConfig(
        "a", name="a", **flags, no_fold=True, constants=True, input_type=0
    )
    for entry in export.FORMATS:
        for field in dataclasses.fields(entry.loaded.Options):
            assert field.name in given.given(), (entry.name, field.name)


def test_a_folder_of_versions_is_its_highest(exports, tmp_path):
    folder = exports.repository / "tiny"
    (tmp_path / "9").mkdir()  # which holds no model
    (tmp_path / "10").symlink_to(folder / "1")
    (tmp_path / "2").symlink_to(folder / "2")
    entry, path = export.find_exported(str(tmp_path))
    assert (entry.name, path) == ("savedmodel", str(tmp_path / "10"))
    settings = EvaluateConfig(
        str(tmp_path), dataset="digits", eval_split="validation[:9]"
    )
    assert evaluate_exported(settings)["examples"] == 9


def test_the_table_imports_nothing_heavy():
    code = (
        "import os, sys, types\n"
        "for name in ('scalenet_tf', 'scalenet_tf.export'):\n"
        "    package = sys.modules[name] = types.ModuleType(name)\n"
        "    package.__path__ = [os.path.join(sys.argv[1], *name.split('.'))]\n"
        "from scalenet_tf.export import formats\n"
        "assert formats.find_exported('a.onnx')[0].name == 'onnx'\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'onnx', 'ai_edge_litert'}\n"
        "assert not heavy & {*sys.modules}\n"
    )
    root = GUIDE.parent.parent
    subprocess.run([sys.executable, "-c", code, root], check=True, cwd=root)


def boom(*args, **kwargs):
    raise ValueError("boom")


# What fails inside a command -> the command; its file is put in the braces.
BUGS = {
    "conversion": (
        (tf.lite.TFLiteConverter, "from_concrete_functions"),
        ["export.py", "{model}", "--name", "a", "--format", "tflite", "{export}"],
    ),
    "folding": (
        (classifier, "fold_batch_norm"),
        ["export.py", "{model}", "--name", "a", "{export}"],
    ),
    "evaluation of an export": (
        (export.Exported, "logits"),
        ["evaluate.py", "{saved}", "--dataset", "digits"],
    ),
    "evaluation of a network": (
        ("scalenet_training.train.evaluation", "make_evaluation_step"),
        ["evaluate.py", "{model}", "--dataset", "digits", "{normalization}"],
    ),
    "prediction of a network": (
        (classifier.Classifier, "__init__"),
        ["predict.py", "{image}", "--model", "{model}", "{normalization}"],
    ),
}


@pytest.mark.parametrize("bug", BUGS)
def test_an_error_inside_the_work_shows_its_traceback(
    bug, alone, exports, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (target, name), words = BUGS[bug]
    if isinstance(target, str):
        target = sys.modules[target]
    monkeypatch.setattr(target, name, boom)
    normalization = ["--normalization", "cifar10"]
    files = {
        "{model}": [alone[0]],
        "{saved}": [str(exports.repository / "tiny" / "1")],
        "{image}": [str(exports.images / "0.jpg")],
        "{normalization}": normalization,
        "{export}": [
            *normalization,
            *("--images", str(exports.images), "--class-names", alone[1]),
        ],
    }
    arguments = [word for part in words for word in files.get(part, [part])]
    with pytest.raises(ValueError, match=r"^boom$"):
        in_process(monkeypatch, *arguments)
    assert not list(pathlib.Path().rglob("*.*"))


def test_an_error_inside_a_measurement_shows_its_traceback(alone, monkeypatch):
    monkeypatch.setattr(export.Exported, "run", boom)
    config = ExportSpeedConfig(alone[0], batch_sizes=(1,), rounds=1)
    with pytest.raises(ValueError, match=r"^boom$"):
        measure_export(config, (FOLDED,))


def test_an_error_inside_a_conversion_of_weights_shows_its_traceback(
    tmp_path, monkeypatch
):
    from safetensors.numpy import save_file

    save_file({"fc.weight": np.zeros((7, 64), np.float32)}, tmp_path / "a.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scalenet_tf, "ScaleNet", boom)
    words = ["a.safetensors", "--model", "ScaleNetCifar38", "--output", "a.keras"]
    with pytest.raises(ValueError, match=r"^boom$"):
        in_process(monkeypatch, "convert.py", *words)
    assert os.listdir(tmp_path) == ["a.safetensors"]
