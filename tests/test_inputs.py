"""Names and paths that are wrong: an answer before TensorFlow is imported."""

import json
import subprocess
import sys

import pytest
from processes import environment
from scalenet_training.errors import SettingError
from scalenet_training.networks.starting_point import resolve_architecture
from scalenet_training.settings.inputs import NETWORKS, check_inputs
from scalenet_training.settings.training import TrainConfig

import scalenet_tf

# With no TensorFlow to import, every command of a list: exit codes and messages.
_PROGRAM = """
import contextlib, io, json, sys
sys.modules["tensorflow"] = sys.modules["keras"] = None
from scalenet_training.cli.app import main

answers = []
for words in json.load(sys.stdin):
    sys.argv = ["scalenet", *words]
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code
    answers.append([code, said.getvalue()])
print(json.dumps(answers))
"""

_NEAR = "Received: 'ScalNet50'. Did you mean ScaleNet50"
WRONG = {
    "train --model ScalNet50": ("--model must be one of ScaleNetCifar38,", _NEAR),
    "train --model seed:ResNet5": ("--model must be one of", "Did you mean ResNet50"),
    "train --model tyni.json": ("Received: 'tyni.json'. Did you mean tiny.json?",),
    "train --model tyni.json:Tiny": ("or file.json:Name.", "Did you mean tiny.json?"),
    "train --dataset ./nowhere": (
        "--dataset must be digits, a name of TensorFlow Datasets, or a folder or a",
        "Received: './nowhere'.",
    ),
    "train --dataset ./phtos/": ("Received: './phtos/'. Did you mean photos?",),
    "train --dataset images.csv": ("Received: 'images.csv'.",),
    "train --data-dir nowhere": ("--data-dir must be a folder that exists.",),
    "evaluate photos --data-dir phtos": ("--data-dir must be a folder that", "photos?"),
    "study model.toml --data-dir nowhere": ("--data-dir must be a folder that exists",),
    "train --weights bst.keras": (
        "--weights must be a .weights.h5, .keras or .h5 file that exists, or one of",
        "Received: 'bst.keras'. Did you mean best.keras?",
    ),
    "train --weights runs/c10": (
        "that exists, or one of the weights",
        "Received: 'runs/c10'. Did you mean runs/c10/best.keras?",
    ),
    "train --weights photos": ("Received: 'photos'.\n",),
    "train --recipe photos": ("must be a file that exists. Received: 'photos'.\n",),
    "train --weights tiny.json": ("--weights must be a .weights.h5",),
    "train --weights cifar10": (
        "that come with the package: cifar10:ResNetCifar38, cifar10:ScaleNetCifar38. ",
        "Received: 'cifar10'.",
    ),
    "evaluate nowhere": (
        "RUN-OR-MODEL must be the folder of a run, or the file or folder of a model,",
        "Received: 'nowhere'.",
    ),
    "evaluate photos --compare bst.keras": ("--compare must be the", "best.keras?"),
    "predict photos --model nowhere": (
        "--model must be the URL of a served model, or the folder of a run, or",
        "Received: 'nowhere'.",
    ),
    "predict a.png --model best.keras": ("IMAGES: there is no file or folder 'a.png'",),
    "export nowhere --name x": ("RUN-OR-MODEL must be the folder",),
    "export photos --name ..": ("--name must be a plain folder name",),
    "export photos --name x --format tflit": ("--format must be one of", "mean tflite"),
    "export photos --name x --images nowhere": ("--images must be a folder that exi",),
    "study nowhere.toml": ("FILE must be a file that exists.", "'nowhere.toml'"),
    "study model.toml": ("'model.toml': `arms.one`: `model` must be one of", _NEAR),
    "study base.toml": ("'base.toml': `arms.one`: `base` must be one of", _NEAR),
    "study dataset.toml": (
        "'dataset.toml': `arms.one`: `dataset` must be digits, a name of",
        "Received: './phtos'. Did you mean photos?",
    ),
    "study weights.toml": ("`arms.one`: `weights` must be a .weights.h5, .keras",),
    "tune --model ScalNet50": ("--model must be one of", _NEAR),
    "allocate --model ScalNet50": ("--model must be one of", _NEAR),
    "allocate --seed-run nowhere": ("--seed-run must be the folder of a run.",),
    "convert none.pth --model ScaleNet50 --output a.keras": (
        "CHECKPOINT must be a file that exists. Received: 'none.pth'.",
    ),
    "convert best.keras --model ScalNet50 --output a.keras": ("--model must", _NEAR),
    "plot curves nowhere": ("RUNS: 'nowhere' is not a run",),
    "plot allocation ScalNet50": ("NETWORKS must be one of", _NEAR),
    "benchmark models ScaleNet50 ScalNet50": ("NETWORKS must be one of", _NEAR),
    "benchmark models SEResNet5": ("Did you mean SEResNet50",),
    "benchmark models --formats tflit": ("--formats must be one of", "mean tflite"),
    "benchmark profile ScalNet50": ("NETWORK must be one of", _NEAR),
    "benchmark checks KerasResNet50": ("NETWORK must be one of",),
    "benchmark scaling --model ScalNet50": ("--model must be one of", _NEAR),
    "benchmark export nowhere": ("RUN-OR-MODEL must be the folder of a run",),
    # What options are called in other programs.
    "train --lr 0.1": ("there is no option --lr here: it is --learning-rate.",),
    "train --batch=64": ("it is --batch-size. Received: '--batch=64'",),
    "benchmark models --csv a.csv": ("there is no option --csv here: it is --output.",),
    "evaluate photos --checkpoint b": ("Unrecognized options: --checkpoint",),
}
_STUDY = """
title = "A study"
seeds = [0]
compare_with = "one"
"""
_ARMS = {
    "model": '[arms.one]\nmodel = "ScalNet50"',
    "base": '[allocations.a]\nkind = "even"\nbase = "ScalNet50"\n'
    '[arms.one]\nallocation = "a"',
    "dataset": '[arms.one]\nmodel = "ResNet50"\ndataset = "./phtos"',
    "weights": '[arms.one]\nmodel = "ResNet50"\nweights = "bst.keras"',
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Command -> exit code and message; all of them in one process."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "photos").mkdir()
    (folder / "runs/c10").mkdir(parents=True)
    (folder / "runs/c10/best.keras").touch()
    files = {f"{name}.toml": _STUDY + arm for name, arm in _ARMS.items()}
    for name, text in {"tiny.json": "{}", "best.keras": "", **files}.items():
        (folder / name).write_text(text)
    before = sorted(folder.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=json.dumps([command.split() for command in WRONG]),
        cwd=folder,
        env={**environment(), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(folder.rglob("*")) == before
    return dict(zip(WRONG, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("command", WRONG)
def test_what_is_wrong_is_said_before_tensorflow_is_imported(command, answers):
    code, message = answers[command]
    assert code == 2, message
    for part in WRONG[command]:
        assert part in message


def test_the_names_of_networks_are_those_of_the_library():
    assert list(NETWORKS) == scalenet_tf.list_models()


@pytest.mark.parametrize("name", ["scalenet50", "seed:ScaleNet50", "SCALENETCIFAR38"])
def test_what_is_found_early_is_found_later(name):
    check_inputs(TrainConfig(model=name))
    resolve_architecture(name)


def test_settings_are_made_of_what_is_gone_but_not_used():
    config = TrainConfig(weights="gone.keras", dataset="./gone")
    with pytest.raises(SettingError, match=r"Received: 'gone\.keras'"):
        check_inputs(config)
