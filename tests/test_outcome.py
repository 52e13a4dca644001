"""Which epoch is the best, and when a run ends."""

import dataclasses
import re

import keras
import numpy as np
import pytest
from scalenet_training.errors import SettingError, UsageError
from scalenet_training.overview.overview import overview
from scalenet_training.runs.metrics import best_row
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.loop import Trainer, train_and_evaluate
from scalenet_training.train.outcome import Outcome, Patience, check_outcome
from scalenet_training.train.step import Learner
from test_fine_tuning import config  # noqa: F401

pytestmark = pytest.mark.runs

ROWS = [
    {"epoch": 0, "val_top1_error": 0.3, "val_top5_error": 0.2, "val_loss": 1.0},
    {"epoch": 1, "val_top1_error": 0.2, "val_top5_error": 0.2, "val_loss": 1.2},
    {"epoch": 2, "val_top1_error": 0.2, "val_top5_error": 0.1, "val_loss": 1.1},
]


@pytest.mark.parametrize(("best", "epoch"), [("top1", 1), ("top5", 2), ("loss", 0)])
def test_best_is_the_first_of_the_lowest(best, epoch):
    assert best_row(ROWS, best)["epoch"] == epoch
    outcome = Outcome(TrainConfig(best=best), Learner(None, None))
    improved = [row["epoch"] for row in ROWS if outcome.improved(row, whole=True)]
    assert improved[-1] == epoch


def test_patience_ends_after_that_many_epochs_without_a_lower_value():
    patience = Patience(2)
    seen = []
    for value in (1.0, 1.0, 0.9, 0.9, 0.95):
        patience.saw(value)
        seen.append((int(patience.without), patience.exhausted))
    assert seen == [(0, False), (1, False), (0, False), (1, False), (2, True)]


def test_what_ends_within_an_epoch_does_not_try_the_patience():
    outcome = Outcome(TrainConfig(early_stopping=1), Learner(None, None))
    for whole in (False, True, False):
        outcome.improved(ROWS[0], whole)
    assert not outcome.stopped_early
    outcome.improved(ROWS[0], whole=True)
    assert outcome.stopped_early


def test_a_run_ends_early_also_when_it_is_resumed(config, tmp_path, capsys):  # noqa: F811
    folder = str(tmp_path / "run")
    config = dataclasses.replace(
        config,
        freeze=True,
        learning_rate=1e-30,  # no epoch is better than the first
        best="loss",
        epochs=9,
        early_stopping=2,
    )
    train_and_evaluate(dataclasses.replace(config, max_steps=3), folder)
    train_and_evaluate(config, folder)
    assert len(RunFolder(folder).rows()) == 3
    assert RunFolder(folder).best_row()["epoch"] == 0
    out = capsys.readouterr().out
    assert "Stopped early: no lower val_loss in 2 epochs. A larger --early" in out
    train_and_evaluate(config, folder)
    stopped = "Stopped early at step 6 of 18: nothing to do. A larger --early-stopping"
    assert stopped in capsys.readouterr().out
    assert overview(folder).state == "ended"
    with pytest.raises(UsageError, match=r"early_stopping \(2 there, 1 now\)"):
        train_and_evaluate(dataclasses.replace(config, early_stopping=1), folder)
    more = dataclasses.replace(config, early_stopping=3)
    train_and_evaluate(more, folder)
    assert len(RunFolder(folder).rows()) == 4


@pytest.mark.parametrize("steps", [1, 3])
def test_an_evaluation_within_an_epoch_is_the_best_only_while_there_is_no_other(
    config,  # noqa: F811
    tmp_path,
    monkeypatch,
    steps,
):
    """When the run goes on, the best epoch is that of a run that did not stop."""
    config = dataclasses.replace(config, epochs=3)
    errors = {2: 0.4, 4: 0.3, 6: 0.2, steps: 0.1}

    def evaluate(trainer, epoch):
        return {
            "loss": 1.0,
            "top1_error": errors[trainer.state.step],
            "top5_error": 0.0,
        }

    monkeypatch.setattr(Trainer, "_evaluate", evaluate)
    folder, whole = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "whole")
    train_and_evaluate(dataclasses.replace(config, max_steps=steps), folder.path)
    assert folder.best_row()["epoch"] == 0
    assert folder.rows()[-1]["val_top1_error"] == 0.1
    train_and_evaluate(config, folder.path)
    train_and_evaluate(config, whole.path)
    assert folder.best_row()["val_top1_error"] == 0.2
    best, expected = (
        keras.saving.load_model(one.file("best.keras")).get_weights()
        for one in (folder, whole)
    )
    for left, right in zip(best, expected, strict=True):
        np.testing.assert_array_equal(left, right)


def test_patience_cannot_begin_within_a_run():
    patient = TrainConfig(early_stopping=2)
    assert patient.differences(TrainConfig()) == {"early_stopping": (0, 2)}


def test_one_average_excludes_the_other():
    with pytest.raises(SettingError) as refused:
        TrainConfig(ema=0.9, swa_start=0.5)
    assert str(refused.value) == (
        "`ema` and `swa_start` exclude each other: one average is saved. "
        "Received: 0.9 and 0.5."
    )


@pytest.mark.parametrize("epochs", [1, 3, 8])
def test_an_average_that_never_begins_is_refused(epochs):
    message = rf"`swa_start` must be at most ([\d.]+) with {epochs} epochs.*: 0\.95\.$"
    late = TrainConfig(epochs=epochs, swa_start=0.95)
    with pytest.raises(SettingError, match=message) as caught:
        check_outcome(late, 10)
    most = float(re.search(message, str(caught.value))[1])
    check_outcome(dataclasses.replace(late, swa_start=most), 10)
    with pytest.raises(SettingError):
        check_outcome(dataclasses.replace(late, swa_start=most + 1e-3), 10)


def test_the_top5_error_of_five_classes_chooses_nothing():
    check_outcome(TrainConfig(best="top5"), 6)
    message = r"`best` must be top1 or loss with 5 classes, .* Received: 'top5'\."
    with pytest.raises(SettingError, match=message):
        check_outcome(TrainConfig(best="top5"), 5)


def test_what_can_decide_nothing_is_refused_of_new_runs_alone(
    config,  # noqa: F811
    tmp_path,
    monkeypatch,
):
    """Runs of earlier versions go on."""
    folder, late = tmp_path / "run", dataclasses.replace(config, swa_start=0.9)
    with pytest.raises(UsageError, match=r"`swa_start` must be at most 0\.\d+ with"):
        train_and_evaluate(late, str(folder))
    assert not folder.exists()
    with monkeypatch.context() as patch:
        patch.setattr("scalenet_training.train.loop.check_outcome", lambda *_: None)
        train_and_evaluate(dataclasses.replace(late, max_steps=2), str(folder))
    assert train_and_evaluate(late, str(folder))["epoch"] == late.epochs - 1


def test_what_is_hardly_meant_is_said(config, tmp_path, capsys):  # noqa: F811
    few = dataclasses.replace(
        config,
        train_split="train[:64]",
        eval_split="train[48:80]",
        freeze_epochs=1,
        epochs=2,
        warmup_epochs=2.0,
        max_steps=1,
    )
    train_and_evaluate(few, str(tmp_path / "run"))
    said = capsys.readouterr().out.splitlines()
    warnings = [line for line in said if line.startswith("warning: ")]
    assert len(warnings) == 3
    assert warnings[0].startswith(
        "warning: 16 of the 32 evaluation examples are trained on, so that"
    )
    assert warnings[1].startswith("warning: --freeze-epochs without --weights keeps")
    assert warnings[2].startswith(
        "warning: the learning rate rises for 2 epochs and does not fall again"
    )
