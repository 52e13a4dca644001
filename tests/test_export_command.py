"""training/export.py and what takes its output, on a run of a tiny network."""

import csv
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_CIFAR
from processes import TRAINING, finish, start
from scalenet_training.errors import UsageError
from scalenet_training.evaluate.config import EvaluateConfig
from scalenet_training.evaluate.exported import evaluate_exported
from scalenet_training.evaluate.report.calibration import negative_log_likelihood
from scalenet_training.evaluate.report.predictions import Collector
from scalenet_training.evaluate.saved import evaluate_saved
from scalenet_training.export import exporter as export_model
from scalenet_training.export import versions as version_folder
from scalenet_training.networks.model_card import file_hashes
from scalenet_training.networks.saved_network import SavedNetwork
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.loop import train_and_evaluate
from test_commands import in_process
from test_export import PHOTOS
from test_models import relative_error
from test_temperature import report as write_facts

from scalenet_tf import export
from scalenet_tf.export import savedmodel
from scalenet_tf.export.formats import get_format
from scalenet_tf.preprocessing import EvaluationTransform, decode_image

pytestmark = pytest.mark.runs

EXPORT = os.path.join(TRAINING, "export.py")
SIGNATURES = ("serving_default", "serving_uint8", "serving_bytes", "features")

COMMAND = "/home/me/training/train.py --model /home/me/a.json --weights=../b.keras"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run on digits."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.json").write_text(json.dumps(TINY_CIFAR.to_record()))
    config = TrainConfig(
        model=str(folder / "tiny.json"), train_split="train[:64]", epochs=2
    )
    train_and_evaluate(config, str(folder / "run"))
    file = folder / "run" / "config.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "command": COMMAND.split()}))
    return folder / "run"


@pytest.fixture
def exported(run, tmp_path, monkeypatch, capsys):
    """Runs the command in an empty folder: its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def command(*options, source=run):
        arguments = [str(source), "--name", "tiny", *map(str, options)]
        code = in_process(monkeypatch, "export.py", *arguments)
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return command


@pytest.fixture(scope="module")
def saved(run, tmp_path_factory):
    """The folder of an exported SavedModel."""
    from scalenet_training.export.config import ExportConfig
    from scalenet_training.export.exporter import export_model

    to = str(tmp_path_factory.mktemp("saved") / "repository")
    config = ExportConfig(run_or_model=str(run), name="tiny", to=to)
    return pathlib.Path(export_model(config)[0])


def card_of(path):
    """The model card of a version whose files are those that it names."""
    folder = path if path.is_dir() else path.parent
    card = json.loads((folder / "model_card.json").read_text())
    assert card["files"]
    assert card["files"] == file_hashes(str(folder))
    assert card["version"] == int(folder.name)
    return card


def test_exports_count_up_and_keep_what_is_known(exported, run, saved):
    assert saved.name == "1"
    code, output = exported("--to", saved.parent.parent)
    assert code == 0, output
    assert f"{saved.parent}/2: largest error" in output
    assert "(at most 1e-05), top-1 agreement 100.0% on 16 images" in output
    assert sorted(os.listdir(saved.parent)) == ["1", "2"]
    assert card_of(saved)["version"] == 1
    card = card_of(saved.parent / "2")
    assert card["architecture"] == TINY_CIFAR.to_record()
    assert card["trainable_parameters"] == 3248
    recorded = RunFolder(run).read_record()
    assert card["macs"] == recorded.macs
    training = card["training"]
    assert (training["dataset"], training["train_split"]) == ("digits", "train[:64]")
    rows = RunFolder(run).rows()
    best = min(rows, key=lambda row: row["val_top1_error"])
    assert (training["saved"], training["metrics"]) == ("best", best)
    assert training["command"] == ["train.py", "--model", "a.json", "--weights=b.keras"]
    assert card["export"] == {
        "format": "savedmodel",
        "fold": True,
        "top_k": 5,
        "on_corrupt": "flag",
        "constants": False,
        "temperature": 1.0,
        "image_size": 32,
        "resize": 32,
        "normalization": "centered",
    }
    assert set(card["verification"]["errors"]) == set(SIGNATURES)
    assert card["versions"]["tensorflow"] == tf.__version__
    assert "assets.extra/tf_serving_warmup_requests" in card["files"]


FORMATS = {
    "savedmodel": (
        [*("--no-fold", "--constants", "--top-k", "2"), *("--on-corrupt", "error")],
        "tiny/1",
    ),
    "float32": (["--format", "tflite"], "tiny/tflite/1/tiny-float32.tflite"),
    "float16": (
        ["--format", "tflite", "--quantization", "float16"],
        "tiny/tflite/1/tiny-float16.tflite",
    ),
    "dynamic": (
        ["--format", "tflite", "--quantization", "dynamic"],
        "tiny/tflite/1/tiny-dynamic.tflite",
    ),
    "int8": (
        [
            *("--format", "tflite", "--quantization", "int8"),
            *("--input-type", "uint8", "--calibration-images", "20"),
        ],
        "tiny/tflite/1/tiny-int8.tflite",
    ),
    "onnx": (["--format", "onnx"], "tiny/onnx/1/tiny.onnx"),
    "onnx of pixels": (
        ["--format", "onnx", "--input-type", "uint8"],
        "tiny/onnx/1/tiny.onnx",
    ),
    "openvino": (["--format", "openvino"], "tiny/openvino/1"),
}
SLOW = ("float16", "dynamic")  # the library's own tests convert to these


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[pytest.mark.slow] if kind in SLOW else [])
        for kind in FORMATS
    ],
)
def test_every_format_is_verified_and_can_be_evaluated(
    kind, exported, run, tmp_path, monkeypatch, capsys
):
    package = kind.removesuffix(" of pixels")
    if package in ("onnx", "openvino"):
        pytest.importorskip(package, reason=f"needs the extra `{package}`")
    options, place = FORMATS[kind]
    code, output = exported(*options, "--to", "models", "--saved", "last")
    assert code == 0, output
    path = tmp_path / "models" / place
    assert f"models/{place}: largest error" in output
    card = card_of(path)
    assert card["training"]["metrics"] == RunFolder(run).rows()[-1]
    settings = card["export"]
    if kind == "savedmodel":
        assert (settings["fold"], settings["top_k"]) == (False, 2)
        assert (settings["on_corrupt"], settings["constants"]) == ("error", True)
    elif package in ("onnx", "openvino"):
        assert settings["format"] == package
        assert settings["input_type"] == ("float32" if kind == package else "uint8")
    else:
        quantization = "none" if kind == "float32" else kind
        assert settings["quantization"] == quantization
        assert settings["calibration_images"] == (20 if kind == "int8" else 0)
    evaluate = ["evaluate.py", str(path), "--compare", str(run), "--saved", "last"]
    assert in_process(monkeypatch, *evaluate, "--eval-split", "validation[:100]") == 0
    printed = capsys.readouterr().out
    assert "100 examples: top-1 error" in printed
    assert "the same likeliest class for" in printed
    if kind in ("savedmodel", "float32") or package in ("onnx", "openvino"):
        assert "for 100.00% of the examples" in printed
        first, second = (
            line.split("top-1 error ")[1].split(",")[0]
            for line in printed.splitlines()[-2:]
        )
        assert first == second


def test_the_temperature_of_a_report_goes_into_the_export(exported, run, tmp_path):
    pytest.importorskip("onnx", reason="needs the extra `onnx`")
    part = "validation[:100]"
    write_facts(tmp_path, calibration={"temperature": 2.0}, eval_split=part)
    code, output = exported("--format", "onnx", "--temperature", "report.json")
    assert code == 0, output
    path = tmp_path / "savedmodels/tiny/onnx/1/tiny.onnx"
    assert export.read_metadata(path)["temperature"] == 2
    settings = card_of(path)["export"]
    assert settings["temperature"] == 2
    assert settings["temperature_fitted_to"] == {
        "dataset": "digits",
        "eval_split": part,
        "examples": 9,
        "classes": 10,
    }
    own, calibrated = Collector(), Collector()
    evaluate_saved(EvaluateConfig(str(run), eval_split=part), own)
    result = evaluate_exported(
        EvaluateConfig(str(path), eval_split=part), observer=calibrated
    )
    logits, labels = own.predictions.logits, own.predictions.labels
    np.testing.assert_allclose(calibrated.predictions.logits, logits / 2, atol=1e-5)
    expected = negative_log_likelihood(logits, labels, 2.0)
    assert result["loss"] == pytest.approx(expected, abs=1e-5)
    assert calibrated.subject.temperature == 2
    write_facts(tmp_path, eval_split="all", trained_on=64)
    code, output = exported("--temperature", ".")
    assert (code, "the run was trained on 64 of them" in output) == (2, True), output
    for changes, message in (
        ({"eval_split": "train[:64]"}, "the report is of the images that the run was"),
        ({"classes": 11}, "the report has 11 classes, and the network 10."),
    ):
        write_facts(tmp_path, **changes)
        code, output = exported("--temperature", ".")
        assert (code, message in output) == (2, True), output


def test_a_network_that_training_replaces_as_it_is_read_is_not_exported(
    exported, run, tmp_path, monkeypatch
):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    load = SavedNetwork.load

    def trains_meanwhile(network):
        model = load(network)
        shutil.copy(copy / "config.json", copy / "best.keras")
        return model

    monkeypatch.setattr(SavedNetwork, "load", trains_meanwhile)
    code, output = exported(source=copy)
    assert code == 1
    assert "best.keras' was replaced while it was read, and nothing was kept" in output
    assert os.listdir(tmp_path) == ["run"]


def test_evaluation_takes_the_data_of_the_card(saved, monkeypatch, capsys):
    assert in_process(monkeypatch, "evaluate.py", str(saved)) == 0
    assert "359 examples: top-1 error" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--normalization", "cifar10"], "--normalization is for Keras models"),
        (["--jit", "on"], "--jit is for Keras models"),
        (["--batch-size", "0"], "--batch-size must be more than 0"),
        (["--eval-split", "none"], "--eval-split: no split 'none'"),
        (["--compare", "nothing.keras"], "--compare must be the folder of a run"),
    ],
)
def test_evaluations_of_exports_that_cannot_be(
    saved, options, message, monkeypatch, capsys
):
    assert in_process(monkeypatch, "evaluate.py", str(saved), *options) == 2
    assert message in capsys.readouterr().err


def test_serving_gives_what_evaluation_has_measured(saved, run):
    """The same pipeline, and the Keras model that the run saved."""
    model = keras.saving.load_model(run / "best.keras")
    transform = EvaluationTransform(32, 32, "centered")
    images = tf.stack([transform(decode_image(data)) for data in PHOTOS])
    signature = tf.saved_model.load(saved).signatures["serving_bytes"]
    outputs = signature(image_bytes=tf.constant(PHOTOS))
    expected = model.predict(images, verbose=0)
    assert np.abs(outputs["probabilities"] - expected).max() < 1e-5


def test_a_model_file_without_a_run_needs_options(run, exported, tmp_path):
    (tmp_path / "images").mkdir()
    for number, data in enumerate(PHOTOS):
        (tmp_path / "images" / f"{number}.jpg").write_bytes(data)
    alone = tmp_path / "alone.keras"
    alone.write_bytes((run / "best.keras").read_bytes())
    (tmp_path / "names.txt").write_text("".join(f"name {n}\n" for n in range(10)))
    options = ["--format", "tflite"]
    for more, message in [
        (["--normalization", "centered"], "--normalization must be given"),
        (["--class-names", "names.txt"], "--class-names or --dataset must be given"),
        (["--images", "images"], "--images or --dataset must be given"),
    ]:
        code, output = exported(*options, source=alone)
        assert (code, message in output) == (2, True), output
        assert not (tmp_path / "savedmodels").exists()
        options += more
    code, output = exported(*options, source=alone)
    assert code == 0, output
    assert "on 4 images" in output
    path = tmp_path / "savedmodels" / "tiny" / "tflite" / "1" / "tiny-float32.tflite"
    assert card_of(path)["training"] is None
    assert export.read_metadata(path)["class_names"][3] == "name 3"
    int8 = ["--quantization", "int8"]
    code, output = exported(*options, *int8, source=alone)
    assert (code, "--calibration-dir or --dataset must be" in output) == (2, True)
    code, output = exported(
        *options, *int8, "--calibration-dir", "images", source=alone
    )
    assert code == 0, output
    assert card_of(tmp_path / "savedmodels/tiny/tflite/2/x")["export"] == {
        "format": "tflite",
        "quantization": "int8",
        "input_type": "float32",
        "calibration_images": 4,
        "temperature": 1.0,
        "image_size": 32,
        "resize": 32,
        "normalization": "centered",
    }


BAD = [
    (["--name", ".."], "--name must be a plain folder name"),
    (["--name", "a/b"], "--name must be a plain folder name"),
    (["--name", ""], "--name must be a plain folder name"),
    (["--to", "file"], "--to 'file/tiny' cannot be written: "),
    (["--quantization", "int8"], "--quantization is for --format tflite. Received: "),
    (["--format", "onnx", "--top-k", "3"], "--top-k is for --format savedmodel"),
    (
        ["--input-type", "uint8"],
        "--input-type is for --format tflite or onnx or openvino. Received: ",
    ),
    (["--format", "tflite", "--no-fold"], "--no-fold is for --format savedmodel"),
    (
        ["--format", "tflite", "--calibration-dir", "."],
        "--calibration-dir is for --quantization int8. Received: --quantization none",
    ),
    (["--top-k", "0"], "--top-k must be at least 1. Received: 0"),
    (
        ["--images", "nowhere"],
        "--images must be a folder that exists. Re",
    ),
    (["--images", "empty"], "--images: 'empty' has no files"),
    (["--images", "."], "cannot be decoded: not a JPEG, PNG"),
    (["--class-names", "file"], "--class-names must have one name for each of the"),
    (
        ["--class-names", "nowhere"],
        "--class-names must be a file that exists",
    ),
    (["--image-size", "32", "--eval-resize", "8"], "--eval-resize must be at least"),
    (["--eval-split", "x"], "--eval-split: no split 'x' in digits"),
    (["--temperature", "cold"], "--temperature must be a number from 0.01 to 100, or"),
    (["--temperature", "0"], "--temperature must be a number from 0.01 to 100. Receiv"),
    (["--temperature", "empty"], "'empty/report.json' is no report of an evaluation:"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=str)
def test_bad_input_is_an_error_and_changes_nothing(
    options, message, exported, tmp_path
):
    (tmp_path / "file").write_text("no image")
    (tmp_path / "empty").mkdir()
    code, output = exported(*options)
    assert code == 2
    assert message in output
    assert sorted(os.listdir(tmp_path)) == ["empty", "file"]


def break_a_weight(monkeypatch):
    write = savedmodel.write

    def broken(content, path, options):
        other = keras.models.clone_model(content.model)
        other.set_weights(content.model.get_weights())
        other.get_layer("logits").kernel.assign_add(
            1e-3 * np.ones(other.get_layer("logits").kernel.shape)
        )
        write(dataclasses.replace(content, model=other), path, options)

    monkeypatch.setattr(savedmodel, "write", broken)


@pytest.mark.parametrize("kind", ["savedmodel", "float32"])
def test_an_export_that_differs_fails_and_leaves_nothing(
    kind, exported, tmp_path, monkeypatch
):
    if kind == "savedmodel":
        break_a_weight(monkeypatch)
    else:
        monkeypatch.setitem(get_format("tflite").bounds, "none", 1e-12)
    code, output = exported(*FORMATS[kind][0])
    assert code == 1
    assert "nothing was kept: largest error" in output
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("agreement", "images", "error", "bound", "doubtful"),
    [
        (0.75, 16, 0.2, None, True),
        (0.8125, 16, 0.2, None, False),
        (0.5, 4, 0.2, None, False),  # chance decides
        (1.0, 4, 1.5, None, True),
        (0.75, 16, 1e-6, 1e-5, False),  # equally likely classes
    ],
)
def test_an_export_that_rounds_too_much_is_told_of(
    agreement, images, error, bound, doubtful, exported, monkeypatch
):
    result = export.Verification({"serving_default": error}, agreement, images, bound)
    monkeypatch.setattr(export_model, "export_model", lambda _: ("a.tflite", result))
    code, output = exported("--format", "tflite")
    assert code == 0
    assert "a.tflite: largest error" in output
    assert ("warning: the exported model agrees with" in output) == doubtful
    if doubtful:
        assert f"on {agreement:.1%} of {images} images, with errors up to" in output


def test_leftovers_are_removed_and_two_writers_are_not_let_in(tmp_path):
    folder = tmp_path / "repository" / "tiny"
    (folder / ".writing-killed" / "1").mkdir(parents=True)
    (folder / "7").mkdir()
    with version_folder.new_version(str(folder)) as path:
        assert os.path.basename(path) == "8"
        message = "another process is writing to"
        with (
            pytest.raises(UsageError, match=message),
            version_folder.new_version(str(folder)),
        ):
            pass
        (pathlib.Path(path)).mkdir()
        (pathlib.Path(path) / "saved_model.pb").write_text("whole")
    assert sorted(os.listdir(folder)) == ["7", "8"]
    assert (folder / "8" / "saved_model.pb").read_text() == "whole"


@pytest.mark.slow
def test_the_table_of_sizes_and_latencies(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--batch-sizes", "1", "3", "--rounds", "2", "--output", "speed.csv"]
    assert in_process(monkeypatch, "benchmark.py", "export", str(run), *options) == 0
    with open("speed.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    formats = [row["format"] for row in rows if row["batch_size"] == "3"]
    saved = ["SavedModel, not folded", "SavedModel, constants", "SavedModel"]
    assert formats[:4] == ["Keras predict", *saved]
    assert {f"TFLite {k}" for k in ("float32", "float16", "dynamic", "int8")} <= {
        *formats
    }
    assert len(rows) == 2 * len(formats)
    for row in rows:
        assert float(row["milliseconds"]) > 0
        assert row["format"] != "Keras predict" or float(row["ratio"]) == 1
    size = {row["format"]: float(row["megabytes"]) for row in rows}
    assert size["Keras predict"] == os.path.getsize(run / "best.keras") / 1e6
    assert size["TFLite float16"] < size["TFLite float32"]
    printed = capsys.readouterr().out
    assert all(name in printed for name in formats)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rounds", "0"], "--rounds must be more than 0. Received: 0"),
        (["--batch-sizes", "0"], "--batch-sizes must be positive numbers"),
        (["--output", "a.txt"], "--output must end in .csv. Received: 'a.txt'"),
        (
            ["--output", "x/a.csv"],
            "--output must be in a folder that exists. Received: 'x/a.csv'",
        ),
    ],
)
def test_measurements_that_cannot_be(
    run, options, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert in_process(monkeypatch, "benchmark.py", "export", str(run), *options) == 2
    assert message in capsys.readouterr().err
    assert not os.listdir(tmp_path)


@pytest.mark.processes
def test_saved_model_cli_runs_every_signature_without_project_code(
    saved, run, tmp_path
):
    """A batch of JPEGs of different sizes too."""
    model = keras.saving.load_model(run / "best.keras")
    transform = EvaluationTransform(32, 32, "centered")
    x = np.stack([transform(decode_image(data)) for data in PHOTOS])
    pixels = np.random.default_rng(0).integers(0, 256, (2, 50, 40, 3), np.uint8)
    of_pixels = np.stack([transform(tf.constant(i)) for i in pixels])
    feeds = {
        "serving_default": ("images", x, x),
        "serving_uint8": ("images", pixels, of_pixels),
        "serving_bytes": ("image_bytes", np.array(PHOTOS, object), x),
        "features": ("images", x, x),
    }
    shown = saved_model_cli("show", "--dir", saved, "--all", cwd=tmp_path)
    for signature, (name, values, seen) in feeds.items():
        assert f"signature_def['{signature}']" in shown
        assert f"inputs['{name}']" in shown
        np.save(tmp_path / "input.npy", values)
        outputs = tmp_path / signature
        saved_model_cli(
            *("run", "--dir", saved, "--tag_set", "serve"),
            *("--signature_def", signature, "--inputs", f"{name}=input.npy"),
            *("--outdir", outputs),
            cwd=tmp_path,
        )
        if signature == "features":
            pooled = keras.Model(model.input, model.get_layer("avg_pool").output)
            actual, expected = np.load(outputs / "features.npy"), pooled(seen)
        else:
            actual, expected = np.load(outputs / "probabilities.npy"), model(seen)
            labels = np.load(outputs / "labels.npy", allow_pickle=True)
            assert [row[0] for row in labels.tolist()] == [
                str(index).encode() for index in np.argmax(expected, 1)
            ]
        assert relative_error(actual, np.asarray(expected)) < 1e-5


def saved_model_cli(*arguments, cwd):
    code = (
        "import sys\n"
        "for name in ('scalenet_tf', 'scalenet_training', 'keras', 'tf_keras'):\n"
        "    sys.modules[name] = None\n"
        "from tensorflow.python.tools.saved_model_cli import main\n"
        "main()\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.processes
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(run, tmp_path):
    pytest.importorskip("onnx", reason="needs the extra `onnx`")
    limited = (
        "import resource, runpy, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))\n"
        "command = sys.argv[1:]\n"
        "for kind in ('savedmodel', 'tflite', 'onnx'):\n"
        "    sys.argv = [*command, '--format', kind]\n"
        "    try:\n"
        "        runpy.run_path(command[0], run_name='__main__')\n"
        "    except SystemExit as exit_:\n"
        "        print('exit', exit_.code)\n"
    )
    arguments = ["-c", limited, EXPORT, str(run), "--name", "tiny"]
    output = finish(start([*arguments, "--to", str(tmp_path / "new" / "models")]))
    assert output.count("exit 1\n") == 3, output
    assert output.count("error: cannot write to") == 3
    assert "Traceback" not in output
    assert not os.listdir(tmp_path)
