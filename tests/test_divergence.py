"""Numbers that are none: in logits, losses, weights and settings."""

import dataclasses
import importlib
import json
import math
import os
import shutil
import typing

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_CIFAR
from PIL import Image
from scalenet_training.allocate.config import AllocateConfig
from scalenet_training.allocate.learning import learn_allocation
from scalenet_training.errors import RunError, UsageError
from scalenet_training.evaluate.config import EvaluateConfig
from scalenet_training.evaluate.exported import evaluate_exported
from scalenet_training.recipes.presets import PRESETS
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.settings import Settings
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.divergence import NotFiniteError
from scalenet_training.train.loop import Trainer, train_and_evaluate
from scalenet_training.train.step import sums
from situations import situation
from test_commands import in_process

import scalenet_tf
from scalenet_tf import export
from scalenet_tf.allocation import check_spread, seed_architecture
from scalenet_tf.preprocessing import EvaluationTransform

pytestmark = pytest.mark.runs

AREA = "diverged networks"
NAN, INF = math.nan, math.inf
LOGITS = {
    "NaN": [[NAN] * 6, [NAN] * 6],
    "NaN for one class, not the right one": [[9, NAN, 0, 0, 0, 0]] * 2,
    "infinite for all classes": [[INF] * 6, [INF] * 6],
    "infinite for the right class": [[INF, 0, 0, 0, 0, 0]] * 2,
    "minus infinity for a wrong class": [[9, -INF, 0, 0, 0, 0]] * 2,
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=situation(AREA, f"logits: {n}")) for n in LOGITS],
)
def test_logits_that_are_none_count_as_wrong_in_graphs_too(name, outcome):
    logits, labels = tf.constant(LOGITS[name], tf.float32), tf.constant([0, 0])
    arguments = tf.zeros(2), logits, labels, tf.ones(2)
    for function in (sums, tf.function(sums)):
        np.testing.assert_array_equal(function(*arguments), [0, 2, 2, 2])
    error = tf.function(sums)(*arguments)[1] / 2
    outcome(f"counted as wrong: top-1 error {float(error):.0%}")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An epoch of two, of a tiny network on digits: its folder and settings."""
    folder = tmp_path_factory.mktemp("divergence")
    path = folder / "tiny_cifar.json"
    path.write_text(json.dumps(TINY_CIFAR.to_record()))
    config = dataclasses.replace(
        PRESETS["digits"].config,
        model=str(path),
        train_split="train[:32]",
        eval_split="validation[:32]",
        epochs=2,
        ema=0.9,
    )
    train_and_evaluate(dataclasses.replace(config, max_steps=1), str(folder / "run"))
    return folder / "run", config


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "tensorboard" not in path.parts
    }


def first_kernel(model):
    return next(weight for weight in model.weights if weight.path.endswith("kernel"))


def poison(value):
    def of_state(trainer):
        first_kernel(trainer.plan.learner.model).assign(
            np.full_like(first_kernel(trainer.plan.learner.model), value)
        )

    return of_state


def poison_average(trainer):
    average = trainer.plan.learner.average.weights[3]
    average.assign(np.full_like(average, NAN))


def poison_momentum(trainer):
    slot = trainer.plan.learner.optimizer.variables[-1]
    slot.assign(np.full_like(slot, INF))


def too_large(trainer):
    for weight in trainer.plan.learner.average.weights:
        if weight.path.endswith("kernel"):
            weight.assign(np.full_like(weight, 1e30))


STATES = {
    "a weight is NaN": (poison(NAN), "numbers of '.*/kernel' are NaN at step 1"),
    "a weight is infinite": (poison(INF), "numbers of '.*/kernel' are infinite"),
    "the moving average is NaN": (poison_average, r"\d+ numbers of '.*' are NaN"),
    "the momentum is infinite": (poison_momentum, r"\d+ numbers of '.*' are infinite"),
    "weights so large that the loss is NaN": (
        too_large,
        "the evaluation of epoch 2 gave a loss of NaN or infinity at step 1 of 2",
    ),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=situation(AREA, f"training: {n}")) for n in STATES],
)
def test_a_state_that_is_none_ends_the_run_and_is_not_saved(
    name, run, tmp_path, monkeypatch, outcome
):
    damage, message = STATES[name]
    folder = shutil.copytree(run[0], tmp_path / "run")
    before = contents(folder)

    def train_epoch(trainer, epoch, callbacks):
        damage(trainer)
        return 0.0

    monkeypatch.setattr(Trainer, "_train_epoch", train_epoch)
    with pytest.raises(RunError, match=message) as error:
        train_and_evaluate(run[1], str(folder))
    assert "This state was not saved." in str(error.value)
    assert "A lower `learning_rate`" in str(error.value)
    assert error.value.exit_code == 1
    after = contents(folder)
    assert after.pop("diverged.txt").decode() == f"{error.value}\n"
    del before["config.json"], after["config.json"]  # which has the command
    assert after == before
    assert {"best.keras", "last.keras", "metrics.csv"} <= before.keys()
    outcome("error, exit code 1; best.keras, last.keras and checkpoints stay")


@situation(AREA, "training: the learning rate is far too high")
def test_a_run_that_diverges_at_once_has_no_best_network(run, tmp_path, outcome):
    wild = dataclasses.replace(
        run[1], learning_rate=1e30, max_steps=1, warmup_epochs=0.0
    )
    with pytest.raises(RunError, match="No checkpoint is good") as error:
        train_and_evaluate(wild, str(tmp_path / "run"))
    assert "NaN" in str(error.value)
    assert not (tmp_path / "run" / "best.keras").exists()
    assert not (tmp_path / "run" / "checkpoints").exists()
    outcome("error, exit code 1; there is no best.keras")


def spoiled(run, folder, value, name="best"):
    """A run whose saved network has a kernel full of a value."""
    folder = shutil.copytree(run[0], folder)
    model = keras.saving.load_model(folder / f"{name}.keras", compile=False)
    kernels = [w for w in model.weights if w.path.endswith("kernel")]
    for kernel in kernels if math.isfinite(value) else kernels[:1]:
        kernel.assign(np.full_like(kernel, value))
    model.save(folder / f"{name}.keras")
    return str(folder)


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    path = tmp_path_factory.mktemp("photograph") / "grey.png"
    Image.new("RGB", (32, 32), (90, 90, 90)).save(path)
    return str(path)


COMMANDS = {
    "evaluate": (["evaluate.py"], 2),
    "export": (["export.py", "--name", "tiny", "--to", "repository"], 2),
    "predict": (["predict.py"], 2),
}


def arguments_for(command, folder, photograph):
    words = list(COMMANDS[command][0])
    more = [photograph, "--model", folder] if command == "predict" else [folder]
    return [words[0], *more, *words[1:]]


@pytest.mark.parametrize(
    "command",
    [pytest.param(c, marks=situation(AREA, f"{c}: a weight is NaN")) for c in COMMANDS],
)
def test_commands_name_the_first_weight_that_is_none(
    command, run, photograph, tmp_path, monkeypatch, capsys, outcome
):
    folder = spoiled(run, tmp_path / "run", NAN)
    monkeypatch.chdir(tmp_path)
    arguments = arguments_for(command, folder, photograph)
    assert in_process(monkeypatch, *arguments) == COMMANDS[command][1]
    error = capsys.readouterr().err
    assert "tensor 'stem_conv/kernel' of" in error, error
    assert "432 of 432 are NaN or infinite" in error
    assert not os.path.exists("repository")
    outcome(f"error, exit code {COMMANDS[command][1]}; the message names the weight")


MESSAGES = {
    "evaluate": "best.keras' gives a loss of nan",
    "predict": "gives probabilities that are NaN or infinite, for '",
    "export": "`model` must give finite logits. Received: ",
}


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(
            c,
            marks=[
                situation(AREA, f"{c}: weights so large that logits are NaN"),
                *([pytest.mark.slow] if c == "export" else []),
            ],
        )
        for c in COMMANDS
    ],
)
def test_commands_say_that_logits_are_none(
    command, run, photograph, tmp_path, monkeypatch, capsys, outcome
):
    folder = spoiled(run, tmp_path / "run", 1e30)
    monkeypatch.chdir(tmp_path)
    code = in_process(monkeypatch, *arguments_for(command, folder, photograph))
    captured = capsys.readouterr()
    assert MESSAGES[command] in captured.err
    assert "grey.png  " not in captured.out
    assert not os.path.exists("repository")
    assert code == (2 if command == "export" else 1)
    outcome(f"error, exit code {code}; no result is printed or written")


@situation(AREA, "evaluate: an exported file gives NaN")
def test_an_exported_file_that_gives_none_is_an_error(monkeypatch, outcome):
    metadata = {
        "class_names": list("0123456789"),
        "image_size": 32,
        "resize": 32,
        "normalization": "centered",
    }

    def nan(images):
        return {"logits": np.full((len(images), 10), NAN, np.float32)}

    opened = export.Exported(metadata, {"serving_default": nan})
    monkeypatch.setattr(
        "scalenet_training.evaluate.exported.open_intact",
        lambda path, formats: opened,
    )
    settings = EvaluateConfig("a.tflite", dataset="digits", eval_split="train[:9]")
    with pytest.raises(NotFiniteError, match=r"'a\.tflite' gives a loss of nan"):
        evaluate_exported(settings)
    outcome("error, exit code 1; no error rate is given")


@pytest.mark.parametrize(
    ("write", "name"),
    [
        ("save_savedmodel", "out"),
        ("convert_tflite", "out.tflite"),
        ("convert_onnx", "out.onnx"),
        ("convert_openvino", "out"),
    ],
)
def test_no_format_takes_a_network_that_is_none(write, name, tmp_path):
    model = scalenet_tf.ScaleNet(TINY_CIFAR, classes=10)
    variance = next(w for w in model.weights if w.path.endswith("moving_variance"))
    variance.assign(np.full_like(variance, INF))
    names = list("0123456789")
    with pytest.raises(
        ValueError, match=r"'.*/moving_variance' of `model` must .* infinite"
    ):
        getattr(export, write)(
            model, tmp_path / name, EvaluationTransform(32, 32), names
        )
    assert not list(tmp_path.iterdir())


@situation(AREA, "train --weights: a weight is NaN")
def test_weights_to_start_from_must_be_numbers(run, tmp_path, outcome):
    path = os.path.join(spoiled(run, tmp_path / "run", NAN), "best.keras")
    config = dataclasses.replace(run[1], weights=path)
    with pytest.raises(UsageError, match=r"`weights` '.*'stem_conv/kernel'.* NaN"):
        train_and_evaluate(config, str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
    outcome("refused, exit code 2; nothing is written")


@situation(AREA, "allocate: a scale of the seed network is NaN")
def test_no_allocation_comes_of_a_network_that_is_none(run, tmp_path, outcome):
    seed = seed_architecture(TINY_CIFAR)
    folder = shutil.copytree(run[0], tmp_path / "run")
    content = json.loads((folder / "config.json").read_text())
    content["architecture"] = seed.to_record()
    content["config"]["epochs"] = 1
    (folder / "config.json").write_text(json.dumps(content))
    model = scalenet_tf.ScaleNet(seed, classes=10)
    gamma = next(w for w in model.weights if w.path.endswith("gamma"))
    gamma.assign(np.full_like(gamma, NAN))
    model.save(folder / "last.keras")
    config = AllocateConfig(train=TrainConfig(), seed_run=str(folder))
    with pytest.raises(UsageError, match=r"bn/gamma' .* must hold finite numbers"):
        learn_allocation(config)
    assert not (folder / "allocation.json").exists()
    outcome("refused, exit code 2; the message names the weight")


@situation(AREA, "tune: the loss of a trial is NaN")
def test_a_trial_that_diverges_has_failed(outcome):
    keras_tuner = pytest.importorskip("keras_tuner")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.compile("sgd", "mse", run_eagerly=True)
    hypermodel = scalenet_tf.HyperScaleNet(TINY_CIFAR, classes=10)
    x, good, bad = np.zeros((4, 2)), np.zeros((4, 3)), np.full((4, 3), NAN)
    failed = keras_tuner.errors.FailedTrialError
    with pytest.raises(failed, match=r"^val_loss became NaN or infinite in epoch 1"):
        hypermodel.fit(None, model, x, good, validation_data=(x, bad), verbose=0)
    with pytest.raises(failed, match=r"^loss became NaN or infinite in epoch 1"):
        hypermodel.fit(None, model, x, bad, verbose=0)
    outcome("the trial has failed; it is never the best")


SETTINGS = {
    "allocate.config": "AllocateConfig",
    "settings.training": "TrainConfig",
    "evaluate.config": "EvaluateConfig",
    "export.config": "ExportConfig",
    "benchmark.config": "ExportSpeedConfig",
    "predict.config": "PredictConfig",
    "tune.config": "TuneConfig",
}


def number_fields():
    for module, name in SETTINGS.items():
        kind = getattr(importlib.import_module(f"scalenet_training.{module}"), name)
        assert issubclass(kind, Settings), kind
        for field, hint in typing.get_type_hints(kind).items():
            if hint is float or float in typing.get_args(hint):
                yield kind, field, hint


def test_no_setting_is_nan_or_infinite():
    required = {"PredictConfig": {"images": ("a.png",), "model": "run"}}
    checked = list(number_fields())
    assert len(checked) >= 14
    for kind, field, hint in checked:
        for value in (NAN, INF, -INF):
            given = value if hint is float else (0.25, value)
            with pytest.raises(ValueError, match=f"`{field}` must be finite. Received"):
                kind(**required.get(kind.__name__, {}), **{field: given})


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(words, marks=situation(AREA, f"option: {' '.join(words)}"))
        for words in (
            ["train.py", "--learning-rate", "nan"],
            ["allocate.py", "--gamma-l1", "inf"],
            ["tune.py", "--weight-decay", "0", "nan"],
            ["predict.py", "a.png", "--model", "run", "--timeout", "inf"],
        )
    ],
)
def test_an_option_that_is_none_ends_the_command(
    arguments, tmp_path, monkeypatch, capsys, outcome
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert in_process(monkeypatch, *arguments) == 2
    flag = next(w for w in arguments[::-1] if w.startswith("--"))
    assert f"{flag} must be finite. Received: " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    outcome("refused, exit code 2; the message names the option")


def test_the_best_row_is_that_of_the_saved_network(tmp_path):
    folder = RunFolder(tmp_path)
    for epoch, (error, loss) in enumerate([(0.5, 1), (0.2, 2), (0.2, 1), (0, NAN)]):
        rest = dict.fromkeys(("loss", "top1_error", "top5_error"), 0.5)
        rest |= {"val_top5_error": 0.5, "images_per_second": 1.0}
        row = {"epoch": epoch, "val_top1_error": error, "val_loss": loss}
        folder.write_row(row | rest)
    assert folder.best_row()["epoch"] == 1
    assert folder.rows()[-1]["epoch"] == 3


@situation(AREA, "decode_predictions: a score is NaN or infinite")
def test_scores_that_are_none_name_no_class(outcome):
    for value in (NAN, INF):
        scores = np.eye(3)
        scores[1, 2] = value
        with pytest.raises(ValueError, match=r"`preds` must be finite.* rows \[1\]"):
            scalenet_tf.decode_predictions(scores, top=1, class_names="abc")
    outcome("ValueError that gives the rows")


def test_numbers_of_a_search_and_a_ranking_are_finite():
    with pytest.raises(ValueError, match="`momentum` must be from 0 to below 1"):
        scalenet_tf.HyperScaleNet(TINY_CIFAR, momentum=NAN)
    with pytest.raises(ValueError, match="does not tell the neurons of a block apart"):
        check_spread([{1: np.array([1.0, 2.0])}], tolerance=NAN)
