"""What comes of a run's epochs: averaged weights, the best epoch, an early end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from scalenet_training.runs.metrics import BEST_COLUMNS
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.step import Learner


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
        patient = config.early_stopping > 0
        self.patience = Patience(config.early_stopping) if patient else None

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint holds, by name."""
        patience = {} if self.patience is None else {"patience": self.patience}
        return {"best_error": self.best, **patience}

    @property
    def stopped_early(self) -> bool:
        """Whether no further epoch is trained."""
        return self.patience is not None and self.patience.exhausted

    def average(self, epoch: int, whole: bool) -> None:
        """Takes the weights into the average of epochs, if there is one.

        Until the average begins, it is the weights as they are; so it stays where the
        other network only takes images of another size. The statistics of the
        batch norms are averaged as the weights are.

        Args:
            epoch: Counted from 0.
            whole: Whether the epoch has ended, and not the run within it.

        Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
        Generalization", 2018, algorithm 1, which estimates the statistics anew.
        """
        average, start = self.learner.average, self.config.swa_start
        if average is None or self.config.ema:  # that one is part of each step
            return
        first = math.ceil(start * self.config.epochs) if start else math.inf
        number = epoch + 2 - first
        if number > 1 and not whole:
            return
        weights = self.learner.model.get_weights()
        if number > 1:
            before = average.get_weights()
            pairs = zip(before, weights, strict=True)
            weights = [mean + (now - mean) / number for mean, now in pairs]
        average.set_weights(weights)

    def improved(self, row: Mapping[str, float], whole: bool) -> bool:
        """Takes note of an epoch's row; whether it is the best so far."""
        value = row[BEST_COLUMNS[self.config.best]]
        if self.patience is not None and whole:
            self.patience.saw(value)
        better = value < float(self.best)
        if better:
            self.best.assign(value)
        return better
