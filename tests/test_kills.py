"""Training, export, allocation and search are killed and go on as if nothing happened.

Bit for bit, on the CPU. `make kills N=100` divides as many kills among the programs.
"""

import csv
import json
import math
import os
import shutil

import keras
import numpy as np
import pytest
from conftest import TINY_CIFAR
from killing import Program, survive_kills
from processes import TRAINING, finish, fork, start
from scalenet_training.networks.model_card import file_hashes

import scalenet_tf
from scalenet_tf import export
from scalenet_tf.files import TEMPORARY

pytestmark = [pytest.mark.processes, pytest.mark.timeout(3600)]
DATA = ("--train-split", "train[:256]", "--eval-split", "validation[:50]")
STEPS = ("--batch-size", "16", "--checkpoint-steps", "2")
# Says when it begins to write, when everything is imported and loaded.
ANNOUNCED = """
import runpy, sys
from scalenet_training.export import exporter
write = exporter.new_version

def announced(folder):
    print("writing", flush=True)
    return write(folder)

exporter.new_version = announced
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def architecture(tmp_path_factory):
    path = tmp_path_factory.mktemp("architecture") / "tiny_cifar.json"
    path.write_text(json.dumps(TINY_CIFAR.to_record()))
    return str(path)


def command(name):
    return os.path.join(TRAINING, f"{name}.py")


class Undisturbed:
    """Compares what ends in a folder with the first; then the folder goes."""

    def __init__(self, folder, facts):
        self._folder, self._facts, self._first = folder, facts, None

    def __call__(self, output):
        del output
        leftovers = [*self._folder.rglob(".writing*"), *self._folder.rglob("*temp*")]
        assert not leftovers
        facts = self._facts(self._folder)
        self._first = self._first or facts
        assert facts == self._first
        shutil.rmtree(self._folder)


def trained(run):
    """Metrics and weights of a run that has ended."""
    weights = {
        name: [
            array.tobytes()
            for array in keras.saving.load_model(run / f"{name}.keras").get_weights()
        ]
        for name in ("last", "best")
    }
    return weights, rows(run / "metrics.csv", "images_per_second")


def rows(path, *times):
    """A table without its columns of measured times."""
    with open(path, newline="") as file:
        table = list(csv.DictReader(file))
    assert table
    return [{k: v for k, v in row.items() if k not in times} for row in table]


def allocated(run):
    found = scalenet_tf.load_architecture(run / "allocation.json")
    return trained(run), found.to_record()


def searched(folder):
    found = scalenet_tf.load_architecture(folder / "allocation.json")
    trials = rows(folder / "trials.csv", "latency_ms")
    assert [row["status"] for row in trials] == ["COMPLETED"] * 6
    return sorted(map(str, trials)), found.to_record()


def parsed(folder):
    """Checks that whatever a killed process has left can be read.

    Not what it was writing, in folders that no command reads and the next run removes.
    """
    left = [
        path
        for path in folder.rglob("*")
        if not any(part.startswith(TEMPORARY) for part in path.parts)
    ]
    for path in left:
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".csv":
            rows(path)
        elif path.suffix == ".keras":
            keras.saving.load_model(path)


def training(architecture, folder):
    run = folder / "run"
    options = ("--model", architecture, *DATA, *STEPS, "--ema", "0.9")
    options += ("--epochs", "6", "--workdir", str(run))
    ended = Undisturbed(run, trained)
    arguments = [command("train"), *options]
    return Program(arguments, ended, lambda: parsed(run), "(?m)^Epoch")


def allocating(architecture, folder):
    run = folder / "run"
    options = ("--model", architecture, *DATA, *STEPS, "--epochs", "6")
    ended = Undisturbed(run, allocated)
    arguments = [command("allocate"), *options, "--workdir", str(run)]
    at_work = "(?m)^(Epoch|Already at step)"
    return Program(arguments, ended, lambda: parsed(run), at_work)


def searching(tuner):
    def program(architecture, folder):
        found = folder / "found"
        options = ("--model", architecture, *DATA, "--batch-size", "16")
        options += ("--tuner", tuner, "--epochs", "3", "--max-trials", "6")
        options += ("--workdir", str(found))
        ended = Undisturbed(found, searched)
        arguments = [command("tune"), *options]
        return Program(arguments, ended, lambda: parsed(found), begin=start)

    program.__name__ = tuner
    return program


def exporting(architecture, folder):
    run, models = folder / "run", folder / "models" / "tiny"
    options = ("--model", architecture, *DATA, "--epochs", "1", "--workdir", str(run))
    finish(fork([command("train"), *options]))
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    expected = []

    def whole():
        """Numbers of the versions, each of which is whole."""
        names = [n for n in os.listdir(models) if not n.startswith(".")]
        for name in names:
            card = json.loads((models / name / "model_card.json").read_text())
            assert card["files"] == file_hashes(str(models / name))
            actual = export.open_exported(models / name).run(images)
            expected.append(actual)
            np.testing.assert_array_equal(actual, expected[0])
        return sorted(map(int, names))

    def ended(output):
        assert str(models) in output
        assert len(os.listdir(models)) == len(whole())  # no leftovers
        for version in whole():
            shutil.rmtree(models / str(version))

    announced = folder / "announced.py"
    announced.write_text(ANNOUNCED)
    arguments = [announced, command("export"), run, "--name", "tiny"]
    arguments += ["--to", models.parent]
    return Program([*map(str, arguments)], ended, whole, "writing")


QUICK = [training, exporting]
ALL = [*QUICK, allocating, searching("random"), searching("hyperband")]


@pytest.mark.parametrize("make", QUICK)
def test_three_kills_at_random_moments_change_nothing(make, architecture, tmp_path):
    survive_kills(make(architecture, tmp_path), kills=3)


@pytest.mark.slow
@pytest.mark.parametrize("make", ALL)
def test_kills_at_random_moments_change_nothing(make, architecture, tmp_path, request):
    kills = math.ceil(request.config.getoption("--kills") / len(ALL))
    survive_kills(make(architecture, tmp_path), kills)
