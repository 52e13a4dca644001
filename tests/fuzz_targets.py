"""What reads files and options, for `tests/fuzz.py`: whole files, and their readers."""

import contextlib
import importlib
import inspect
import io
import json
import os
import pathlib
import random
import shutil
from collections.abc import Callable
from typing import NamedTuple

import keras
import mutations
import numpy as np
from conftest import TINY_CIFAR
from scalenet_training.cli.app import COMMANDS, module_of
from scalenet_training.data.files.manifest import list_manifest
from scalenet_training.data.files.rows import read_rows, write_rows
from scalenet_training.networks.exported_files import open_intact, training_data
from scalenet_training.networks.starting_point import start_from
from scalenet_training.overview.overview import read_run
from scalenet_training.recipes.presets import PRESETS
from scalenet_training.recipes.recipe import read_recipe
from scalenet_training.report.evaluations import evaluations_of
from scalenet_training.report.page import render_runs
from scalenet_training.runs.checkpoints import Checkpoints
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.settings.base import fields_of
from scalenet_training.study.results import read_results
from scalenet_training.study.spec import read_study
from scalenet_training.tune.folder import SearchFolder

import scalenet_tf
from scalenet_tf import export
from scalenet_tf.preprocessing import EvaluationTransform
from scalenet_tf.weights import read_pytorch_weights

DATA = pathlib.Path(__file__).parent / "data"
NAMES = [f"class {number}" for number in range(10)]
REPORT = {
    "model": "run",
    "dataset": "digits",
    "eval_split": "validation",
    "examples": 359,
    "classes": 10,
    "top1_error": 0.0111,
    "loss": 0.05,
    "calibration": {"ece": 0.01, "temperature": 1.2},
}
Change = Callable[[random.Random, bytes], bytes]


class Target(NamedTuple):
    """A kind of file.

    Attributes:
        read: Reads it, given the folder; what it raises is judged.
        change: How it is damaged.
        files: The files of which one is damaged.
        weight: How often it is chosen, against the others.
    """

    read: Callable[[pathlib.Path], object]
    change: Change
    files: tuple[str, ...]
    weight: int = 2


def make_files(folder: pathlib.Path) -> None:
    """Writes a whole file of every kind."""
    keras.utils.set_random_seed(0)
    model = scalenet_tf.ScaleNet(TINY_CIFAR, classes=10)
    model.save(folder / "best.keras")
    model.save_weights(folder / "a.weights.h5")
    transform = EvaluationTransform(32, 32, "centered")
    export.convert_tflite(model, folder / "a.tflite", transform, NAMES)
    export.convert_onnx(model, folder / "a.onnx", transform, NAMES)
    export.save_savedmodel(model, folder / "saved", transform, NAMES)
    record = {**TINY_CIFAR.to_record(), "budget_per_stage": None}
    (folder / "a.json").write_text(json.dumps(record))
    (folder / "a.csv").write_text("path,label,split\na.png,1,train\nb.png,2,test\n")
    write_rows(str(folder / "rows.csv.gz"), [["a", "b"], ["1", "2"]])
    checkpoints(folder).save()
    checkpoints(folder).save()
    with contextlib.suppress(ImportError):
        import torch

        torch.save({"a.weight": torch.ones(3, 3)}, folder / "a.pth")


def copy_written(written: pathlib.Path, folder: pathlib.Path) -> None:
    """Copies the run, the search and the study that are kept for the tests."""
    for name in ("run", "search", "repo"):
        shutil.copytree(written / name, folder / name)
    results = DATA.parent.parent / "results" / "allocation-0.25"
    for name in ("results.csv", "study.toml"):
        shutil.copy(results / name, folder / name)
    shutil.copy(PRESETS["photos"].recipe.path, folder / "recipe.toml")
    (folder / "run" / "report").mkdir()
    (folder / "run" / "report" / "report.json").write_text(json.dumps(REPORT))


def checkpoints(folder: pathlib.Path) -> Checkpoints:
    values = keras.Variable(np.ones(10))
    return Checkpoints(str(folder / "checkpoints"), 3, True, values=values.value)


def read_checkpoints(folder: pathlib.Path) -> None:
    found = checkpoints(folder)
    found.restore()
    found.save()


def build_architecture(folder: pathlib.Path) -> None:
    architecture = scalenet_tf.load_architecture(folder / "a.json")
    if len(architecture.allocation) < 10 and architecture.parameters() < 10**7:
        scalenet_tf.ScaleNet(architecture, classes=3)


def load_weights(folder: pathlib.Path) -> None:
    start_from(
        scalenet_tf.ScaleNet(TINY_CIFAR, classes=10), str(folder / "a.weights.h5")
    )


def run_exported(path: pathlib.Path) -> None:
    exported = open_intact(str(path))
    side = exported.transform.image_size
    if side <= 64:
        exported.logits(np.zeros((1, side, side, 3), np.float32))


def read_card(folder: pathlib.Path) -> None:
    training_data(str(folder / "repo/tiny/1"))
    open_intact(str(folder / "repo/tiny/onnx/1/tiny.onnx"))
    open_intact(str(folder / "repo/tiny"))


def read_search(folder: pathlib.Path) -> None:
    search = SearchFolder(str(folder / "search"))
    search.check({}, {})
    search.read_state("twin")


def read_report(folder: pathlib.Path) -> None:
    run = read_run(str(folder / "run"))
    render_runs([run], evaluations_of([run.path], []), [])


def a_file(name: str, read: Callable[[pathlib.Path], object]) -> Target:
    """A kind of which one file is read, whose bytes are changed."""
    return Target(
        lambda folder: read(folder / name), mutations.changed_bytes, (name,), 6
    )


CHECKPOINT_FILES = ("checkpoint", "ckpt-2.index", "ckpt-2.data-00000-of-00001")
SAVED_FILES = ("saved_model.pb", "fingerprint.pb", "assets.extra/scalenet.json")
TARGETS: dict[str, Target] = {
    "architecture": Target(build_architecture, mutations.changed_json, ("a.json",), 20),
    "manifest": Target(
        lambda folder: list_manifest(str(folder / "a.csv")),
        mutations.changed_csv,
        ("a.csv",),
        10,
    ),
    "record": Target(
        lambda folder: RunFolder(folder / "run").read_record(),
        mutations.changed_json,
        ("run/config.json",),
        15,
    ),
    "metrics": Target(
        lambda folder: RunFolder(folder / "run").best_row(),
        mutations.changed_csv,
        ("run/metrics.csv",),
        10,
    ),
    "report": Target(
        read_report, mutations.changed_json, ("run/report/report.json",), 8
    ),
    "checkpoints": Target(
        read_checkpoints,
        mutations.changed_bytes,
        tuple(f"checkpoints/{name}" for name in CHECKPOINT_FILES),
        4,
    ),
    "model": Target(
        lambda folder: scalenet_tf.load_model(folder / "best.keras"),
        mutations.changed_archive,
        ("best.keras",),
        6,
    ),
    "weights": Target(load_weights, mutations.changed_bytes, ("a.weights.h5",), 4),
    "pytorch": a_file("a.pth", read_pytorch_weights),
    "tflite": a_file("a.tflite", run_exported),
    "onnx": a_file("a.onnx", run_exported),
    "saved model": Target(
        lambda folder: run_exported(folder / "saved"),
        mutations.changed_bytes,
        tuple(f"saved/{name}" for name in SAVED_FILES),
        3,
    ),
    "card": Target(
        read_card, mutations.changed_json, ("repo/tiny/1/model_card.json",), 5
    ),
    "metadata": Target(
        lambda folder: export.read_metadata(folder / "saved"),
        mutations.changed_json,
        ("saved/assets.extra/scalenet.json",),
        8,
    ),
    "search": Target(
        read_search,
        mutations.changed_json,
        ("search/search.json", "search/twin/oracle.json"),
        10,
    ),
    "results": Target(
        lambda folder: read_results(str(folder / "results.csv")),
        mutations.changed_csv,
        ("results.csv",),
        8,
    ),
    "study": Target(
        lambda folder: read_study(folder / "study.toml"),
        mutations.changed_bytes,
        ("study.toml",),
        8,
    ),
    "recipe": Target(
        lambda folder: read_recipe(str(folder / "recipe.toml")),
        mutations.changed_bytes,
        ("recipe.toml",),
        4,
    ),
    "index": Target(
        lambda folder: read_rows(str(folder / "rows.csv.gz"), ["a", "b"], tuple),
        mutations.changed_bytes,
        ("rows.csv.gz",),
        6,
    ),
}


def parse_options(rng: random.Random) -> list[str]:
    """Parses a made-up command line, up to the checks of the settings; gives it."""
    verb = rng.choice([*COMMANDS])
    module = importlib.import_module(module_of(verb))
    settings = getattr(module, "SETTINGS", None)
    if settings is None or not inspect.isclass(settings):
        return []
    names = [name for name in fields_of(settings) if isinstance(name, str)] or ["x"]
    words = [str(mutations.a_value(rng)) for _ in range(rng.randrange(3))]
    for _ in range(rng.randrange(1, 5)):
        words.append(f"--{rng.choice(names).replace('_', '-')}")
        words += [str(mutations.a_value(rng)) for _ in range(rng.randrange(3))]
    from scalenet_training.cli.options import parse

    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        parse(settings, "", words, verb)
    return [verb, *words]


def damage(target: Target, rng: random.Random, folder: pathlib.Path) -> pathlib.Path:
    """Damages one of a target's files, or removes it; gives its path."""
    path = folder / rng.choice(target.files)
    data = path.read_bytes()
    if rng.random() < 0.02:
        os.remove(path)
    else:
        path.write_bytes(target.change(rng, data))
    return path
