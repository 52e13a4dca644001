"""The commands as a user types them, in processes of their own."""

import json
import os
import pathlib
import shlex
import subprocess
import sys

import image_folders as images
import keras
import numpy as np
import pytest
import reference
from conftest import TINY, TINY_CIFAR

import scalenet_tf
from scalenet_tf.profiling import count_parameters
from scalenet_tf.weights import pytorch_shapes

TRAINING = pathlib.Path(__file__).parent.parent / "training"
COMMANDS = sorted(path.name for path in TRAINING.glob("*.py"))


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, TRAINING / arguments[0], *map(str, arguments[1:])],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def in_process(monkeypatch, *arguments):
    """The exit code of a command, without the time that TensorFlow takes to load."""
    import runpy

    monkeypatch.setattr(sys, "argv", [str(TRAINING / arguments[0]), *arguments[1:]])
    try:
        runpy.run_path(str(TRAINING / arguments[0]), run_name="__main__")
    except SystemExit as exit_:
        return exit_.code
    return 0


@pytest.mark.parametrize("command", COMMANDS)
def test_help_needs_no_tensorflow(command, tmp_path):
    code = (
        "import runpy, sys\n"
        "sys.argv = sys.argv[1:] + ['--help']\n"
        "try:\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as exit_:\n"
        "    assert not exit_.code\n"
        "assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)\n"
    )
    environment = {"PYTHONPATH": str(TRAINING), "COLUMNS": "100"}
    result = subprocess.run(
        [sys.executable, "-c", code, TRAINING / command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert result.returncode == 0, result.stderr
    assert "--help" in result.stdout


def test_help_of_train_has_every_preset_and_option(tmp_path):
    text = run("train.py", "--help", cwd=tmp_path).stdout
    for word in (
        "digits",
        "imagenet",
        "22.02",
        "--virtual-devices",
        "--label-smoothing",
    ):
        assert word in text


@pytest.mark.processes
def test_train_evaluate_and_plot_from_any_folder(
    tiny_cifar_file, tmp_path, monkeypatch, capsys
):
    options = ["--model", tiny_cifar_file, "--train-split", "train[:64]"]
    result = run("train.py", *options, "--epochs", 1, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "validation: top-1 error" in result.stdout
    assert "2/2" in result.stdout
    folder = tmp_path / "runs/digits-tiny_cifar"
    assert (folder / "metrics.csv").is_file()
    monkeypatch.chdir(tmp_path)
    said = result.stdout.split("Next, with the best epoch's weights:\n")[1]
    python, script, *words = shlex.split(said.splitlines()[0])
    assert (python, os.path.basename(script)) == ("python", "evaluate.py")
    assert in_process(monkeypatch, "evaluate.py", *words, "--eval-split", "all") == 0
    assert "1797 examples: top-1 error" in capsys.readouterr().out
    assert (folder / "report/report.html").is_file()
    plot = ["plot.py", "curves", str(folder), "--output", "both.png"]
    assert in_process(monkeypatch, *plot) == 0
    assert (tmp_path / "both.png").is_file()


@pytest.mark.processes
def test_allocate_and_plot_from_any_folder(
    tiny_cifar_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    options = ["--train-split", "train[:320]", "--eval-split", "validation[:32]"]
    options += ["--epochs", "2", "--model", tiny_cifar_file]
    assert in_process(monkeypatch, "allocate.py", *options) == 0
    printed = capsys.readouterr().out
    path = "runs/digits-tiny_cifarSeed/allocation.json"
    assert f"Written: {path}. To train the network:" in printed
    train = TRAINING / "train.py"
    assert f"python {train} --preset digits --model {path}" in printed
    assert "stage2_block1" in printed
    assert "MACs of at most 1,360,192" in printed
    plot = ["plot.py", "allocation", path, tiny_cifar_file, "ScaleNet50", "resnet50"]
    assert in_process(monkeypatch, *plot) == 0
    assert capsys.readouterr().out == "allocation.png\n"
    assert (tmp_path / "allocation.png").is_file()


def test_convert_gives_weights_that_the_model_takes(tmp_path, monkeypatch, capsys):
    import safetensors.numpy

    (tmp_path / "tiny.json").write_text(json.dumps(TINY.to_record()))
    model = scalenet_tf.ScaleNet(TINY, classes=7)
    weights = reference.generated_weights(pytorch_shapes(model))
    scalenet_tf.load_pytorch_weights(model, weights)
    counted = {**weights, "bn1.num_batches_tracked": np.array(3)}
    safetensors.numpy.save_file(counted, tmp_path / "tiny.safetensors")
    monkeypatch.chdir(tmp_path)
    arguments = ["convert.py", "tiny.safetensors", "--model", "tiny.json"]
    for output in ("tiny.weights.h5", "tiny.keras"):
        assert in_process(monkeypatch, *arguments, "--output", output) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"{len(weights)} of {len(weights) + 1} tensors of 'tiny.safetensors'; "
        "ignored: 1 num_batches_tracked",
        f"tiny.keras: tiny, 7 classes, {count_parameters(model):,} trainable "
        "parameters",
    ]
    x = np.random.default_rng(0).standard_normal((1, 56, 56, 3)).astype("f4")
    loaded = scalenet_tf.ScaleNet(TINY, classes=7, weights="tiny.weights.h5")
    np.testing.assert_array_equal(loaded(x), model(x))
    saved = keras.saving.load_model("tiny.keras")
    np.testing.assert_array_equal(saved(x), model(x))


def test_convert_takes_the_dictionary_that_was_chosen(
    tiny_cifar_file, tmp_path, monkeypatch, capsys
):
    import torch

    model = scalenet_tf.ScaleNet(TINY_CIFAR, classes=7)
    weights = reference.generated_weights(pytorch_shapes(model))
    average = {name: torch.from_numpy(array) for name, array in weights.items()}
    wrong = {**average, "bn1.running_var": -average["bn1.running_var"]}
    torch.save({"model": wrong, "ema": {"model": average}}, tmp_path / "run.ckpt")
    monkeypatch.chdir(tmp_path)
    arguments = ["convert.py", "run.ckpt", "--model", tiny_cifar_file]
    arguments += ["--output", "tiny.weights.h5"]
    for key, message in (
        ([], "'run.ckpt' has several dictionaries of tensors: 'model', 'ema.model'"),
        (["--key", "model"], "tensor 'bn1.running_var' of 'run.ckpt' is a variance"),
        (
            ["--key", "best"],
            "of which it has: 'model', 'ema.model'. Received: key='bes",
        ),
    ):
        assert in_process(monkeypatch, *arguments, *key) == 2
        assert message in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / "tiny.weights.h5").exists()
    assert in_process(monkeypatch, *arguments, "--key", "ema.model") == 0
    model.load_weights(tmp_path / "tiny.weights.h5")
    kernel = model.get_layer("stem_conv").kernel.numpy()
    expected = weights["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel, expected)


def boom(*_, **__):
    raise ValueError("boom")


LOOP = "scalenet_training.train.loop"
ONE_STEP = ["--train-split", "train[:32]", "--eval-split", "validation[:9]"]


@pytest.mark.parametrize(
    ("place", "broken", "command"),
    [
        ("scalenet_tf.ScaleNet", boom, "train.py"),
        ("scalenet_tf.ScaleNet", boom, "allocate.py"),
        (f"{LOOP}.make_train_step", lambda *_: boom, "train.py"),
        (f"{LOOP}.plot_curves", boom, "train.py"),
    ],
)
def test_an_error_in_the_work_is_a_bug_and_shows_its_traceback(
    place, broken, command, tiny_cifar_file, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(place, broken)
    options = [command, "--model", tiny_cifar_file, *ONE_STEP, "--max-steps", "1"]
    with pytest.raises(ValueError, match="boom"):
        in_process(monkeypatch, *options)


@pytest.mark.parametrize(
    ("place", "arguments"),
    [
        ("scalenet_training.runs.figures.plot_curves", ["plot.py", "curves", "run"]),
        ("scalenet_training.evaluate.saved.Evaluator", ["evaluate.py", "run"]),
        (
            "scalenet_training.allocate.learning.plot_allocations",
            ["allocate.py", "--seed-run", "seed", "--output", "a.json"],
        ),
    ],
)
def test_an_error_in_the_work_on_a_run_shows_its_traceback(
    place, arguments, written, monkeypatch
):
    monkeypatch.setattr(place, boom)
    with pytest.raises(ValueError, match="boom"):
        in_process(monkeypatch, *arguments)


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("train.py", []),
        ("tune.py", ["--workdir", "a/search"]),
        ("study.py", ["s.toml"]),
    ],
)
def test_what_is_written_is_not_among_the_images(
    command, option, here, monkeypatch, capsys
):
    images.make(".")
    (here / "s.toml").write_text(
        'title = "A study"\nseeds = [0]\ncompare_with = "one"\n'
        '[arms.one]\nmodel = "ResNetCifar38"\ndataset = "./"\n'
    )
    before = sorted(here.rglob("*"))
    dataset = [] if command == "study.py" else ["--dataset", "."]
    assert in_process(monkeypatch, command, *option, *dataset) == 2
    message = "error: --workdir must be outside of the folder of"
    assert message in capsys.readouterr().err
    assert sorted(here.rglob("*")) == before


BAD_COMMANDS = [
    (["train.py", "--preset", "mnist"], "Expected one of ('digits', 'cifar10'"),
    (["train.py", "--strategy", "horovod"], "--strategy"),
    (
        ["train.py", "--batch-size", "0"],
        "--batch-size must be more than 0",
    ),
    (["train.py", "--ema", "1"], "--ema must be from 0 to below 1. Received: 1.0"),
    (["train.py", "--milestones", "0.5", "0.2"], "--milestones must be ascending"),
    (["train.py", "--epochz", "3"], "--epochz"),
    (
        ["train.py", "--model", "VGG16"],
        "--model must be one of ScaleNetCif",
    ),
    (["evaluate.py", "nothing.keras"], "RUN-OR-MODEL must be the folder of a run"),
    (["evaluate.py", "."], "is no run's config.json"),
    (["plot.py", "curves", "."], "is not a run that has finished an epoch"),
    (
        ["plot.py", "allocation", "ScaleNet5"],
        "'ScaleNet5'. Did you mean ScaleNet5",
    ),
    (["plot.py", "curves", "none"], "'none' is not a run that has finished an epoch"),
    (["plot.py", "allocation"], "NETWORKS must be one or more"),
    (["allocate.py", "--target-macs", "much"], "--target-macs must be 'twin'"),
    (["allocate.py", "--model", "ResNet50"], "must have two scales or more"),
    (["allocate.py", "--target-macs", "9x"], "--target-macs must be from"),
    (
        ["convert.py", "none.pth", "--model", "ScaleNet50", "--output", "a.weights.h5"],
        "CHECKPOINT must be a file that exists. Received: 'none.pth'",
    ),
    (
        ["convert.py", "none.pth", "--model", "ScaleNet50", "--output", "a.h5"],
        "--output must end in .weights.h5 or .keras. Received: 'a.h5'",
    ),
    (
        ["convert.py", "none.pth", "--model", "ScaleNet50", "--output", "x/a.keras"],
        "--output must be in a folder that exists. Received: 'x/a.keras'",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_COMMANDS, ids=str)
def test_bad_input_ends_with_a_line_and_2_and_writes_nothing(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert in_process(monkeypatch, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_table_of_metrics_that_is_none_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "metrics.csv").write_text("epoch,loss\n0,much\n")
    assert in_process(monkeypatch, "plot.py", "curves", ".") == 2
    assert "metrics.csv' is no run's metrics.csv: it has no" in capsys.readouterr().err
    assert not (tmp_path / "curves.png").exists()


def test_convert_does_not_replace_a_file_unless_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.keras").write_text("mine")
    (tmp_path / "none.pth").write_text("none")
    arguments = ["convert.py", "none.pth", "--model", "ScaleNet50"]
    assert in_process(monkeypatch, *arguments, "--output", "a.keras") == 2
    assert "exists. Give --overwrite" in capsys.readouterr().err
    assert (tmp_path / "a.keras").read_text() == "mine"


def saved_tiny(folder, classes):
    path = folder / "tiny.keras"
    scalenet_tf.ScaleNet(TINY, classes=classes).save(path)
    return str(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--dataset must be given"),
        (["--dataset", "digits"], "--normalization must be given"),
        (
            ["--dataset", "digits", "--normalization", "centered"],
            "--dataset must have the model's 7 classes. Received: 'digits' with 10",
        ),
    ],
)
def test_evaluate_needs_data_that_fit_the_model(
    options, message, tmp_path, monkeypatch, capsys
):
    path = saved_tiny(tmp_path, classes=7)
    assert in_process(monkeypatch, "evaluate.py", path, *options) == 2
    assert message in capsys.readouterr().err


def test_evaluate_a_model_file_without_a_run(tmp_path, monkeypatch, capsys):
    path = saved_tiny(tmp_path, classes=10)
    options = ["--dataset", "digits", "--normalization", "centered"]
    assert in_process(monkeypatch, "evaluate.py", path, *options) == 0
    assert "359 examples: top-1 error" in capsys.readouterr().out


@pytest.mark.processes
@pytest.mark.parametrize("limit", [200, 4_000, 20_000])  # bytes of a file
def test_a_full_disk_is_a_clear_error_and_leaves_what_was_saved(
    limit, tiny_cifar_file, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    options = ["--model", tiny_cifar_file, "--train-split", "train[:64]"]
    options += ["--eval-split", "validation[:32]"]
    assert in_process(monkeypatch, "train.py", *options, "--epochs", "1") == 0
    folder = tmp_path / "runs/digits-tiny_cifar"
    before = {p: p.read_bytes() for p in folder.rglob("*.keras")}
    limited = (
        "import resource, runpy, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "sys.argv = sys.argv[1:]\n"
        "sys.path.insert(0, sys.argv[0].rsplit('/', 1)[0])\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", limited, str(TRAINING / "train.py"), *options]
    result = subprocess.run(
        [*command, "--epochs", "2"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "error: cannot write to" in result.stderr
    assert "What was there before is intact" in result.stderr
    assert "Traceback" not in result.stderr
    assert {p: p.read_bytes() for p in folder.rglob("*.keras")} == before
    assert in_process(monkeypatch, "train.py", *options, "--epochs", "2") == 0
