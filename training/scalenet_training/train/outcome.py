"""What comes of a run's epochs: averaged weights, the best epoch, an early end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from scalenet_training.errors import SettingError
from scalenet_training.runs.metrics import BEST_COLUMNS, has_top5
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.step import EpochAverage, Learner


def check_outcome(config: TrainConfig, classes: int) -> None:
    """Checks that the evaluations of a new run can decide what they are to decide.

    Args:
        config: The settings.
        classes: Of the data.

    Raises:
        SettingError: The average never begins, or the first epoch is always the best.
    """
    if _first_averaged(config) >= config.epochs > 0:
        most = (config.epochs - 1) / config.epochs
        raise SettingError(
            f"`swa_start` must be at most {math.floor(most * 1e4) / 1e4:g} with "
            f"{config.epochs} epochs, so that one epoch is averaged. Received: "
            f"{config.swa_start!r}."
        )
    if config.best == "top5" and not has_top5(classes):
        raise SettingError(
            f"`best` must be top1 or loss with {classes} classes, of so few of which "
            "the top-5 error is always 0. Received: 'top5'."
        )


def _first_averaged(config: TrainConfig) -> int:
    """The epoch from which on weights are averaged, counted from 0; 0 for none."""
    return math.ceil(round(config.swa_start * config.epochs, 9))


class Patience(tf.Module):
    """Epochs without a better value than before; part of a checkpoint.

    Args:
        epochs: After how many of them a run ends.
    """

    def __init__(self, epochs: int):
        super().__init__()
        self.epochs = epochs
        self.best = tf.Variable(np.inf, trainable=False, dtype=tf.float64)
        self.without = tf.Variable(0, trainable=False, dtype=tf.int64)

    def saw(self, value: float) -> None:
        """Takes note of the value of a whole epoch; less is better."""
        better = value < float(self.best)
        self.without.assign(0 if better else self.without + 1)
        if better:
            self.best.assign(value)

    @property
    def exhausted(self) -> bool:
        """Whether the run ends."""
        return int(self.without) >= self.epochs


class Outcome:
    """What the evaluations of a run decide; its state is part of a checkpoint.

    Args:
        config: The settings.
        learner: Whose average takes the weights of epochs, with `swa_start`.
    """

    def __init__(self, config: TrainConfig, learner: Learner):
        self.config = config
        self.learner = learner
        self.best = tf.Variable(np.inf, dtype=tf.float64, name="best_error")
        first = _first_averaged(config) or math.inf
        # A moving average is part of each step.
        averages = learner.average is not None and not config.ema
        self.averaged = EpochAverage(learner, first) if averages else None
        patient = config.early_stopping > 0
        self.patience = Patience(config.early_stopping) if patient else None

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint holds, by name."""
        parts = {"patience": self.patience}
        if self.config.swa_start:
            parts["averaged"] = self.averaged
        given = {name: part for name, part in parts.items() if part is not None}
        return {"best_error": self.best, **given}

    @property
    def stopped_early(self) -> bool:
        """Whether no further epoch is trained."""
        return self.patience is not None and self.patience.exhausted

    def average(self, epoch: int, whole: bool) -> bool:
        """Takes the weights into the average of epochs, if there is one.

        Args:
            epoch: Counted from 0.
            whole: Whether the epoch has ended, and not the run within it.

        Returns:
            Whether the average is of several epochs, in which the whole network
            trained: its batch norms then need statistics of their own.
        """
        if self.averaged is None:
            return False
        frozen = self.config.freeze or self.learner.waits
        return self.averaged.take(epoch, whole) and not frozen

    def improved(self, row: Mapping[str, float], whole: bool) -> bool:
        """Takes note of an epoch's row; whether it is the best so far.

        An evaluation within an epoch is the best only where it is the first: when the
        run goes on, the epoch is evaluated again.
        """
        if not whole:
            return math.isinf(float(self.best))
        value = row[BEST_COLUMNS[self.config.best]]
        if self.patience is not None:
            self.patience.saw(value)
        better = value < float(self.best)
        if better:
            self.best.assign(value)
        return better
