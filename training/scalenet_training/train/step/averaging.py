"""The average of a run's weights over epochs, and the statistics that belong to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from scalenet_tf.layers.normalization import BATCH_NORM
from scalenet_training.data.batches import Batch
from scalenet_training.networks.logits import logits_of
from scalenet_training.train.step.sums import sum_over_replicas
from scalenet_training.train.step.update import Learner, statistics_of

# (global batch, its number from 1, whether this worker was asked to stop) -> whether
# any worker was
StatisticsStep = Callable[[Any, int, bool], bool]


class EpochAverage(tf.Module):
    """The equal average of the weights at the ends of epochs; part of a checkpoint.

    Args:
        learner: Whose `average` takes the weights of its `model`.
        first: The first epoch that is averaged with the one before, counted from 0;
            infinity for none.

    Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
    Generalization", 2018, algorithm 1.
    """

    def __init__(self, learner: Learner, first: float = math.inf):
        super().__init__()
        self._learner = learner
        self._first = first
        # The first and the last epoch whose ends it holds.
        self.begun = tf.Variable(-1, trainable=False, dtype=tf.int64)
        self.taken = tf.Variable(-1, trainable=False, dtype=tf.int64)

    def take(self, epoch: int, whole: bool) -> bool:
        """Takes the weights as they are into the average, once for an epoch.

        Until the average begins it is the weights as they are; so it stays where the
        other network only takes images of another size. Where a run was given more
        epochs, some of the ends that it holds are too early: it goes on with them if
        they are not the greater part, and begins anew otherwise.

        Args:
            epoch: Counted from 0.
            whole: Whether the epoch has ended, and not the run within it.

        Returns:
            Whether the average is now of several epochs.
        """
        goes_on = epoch >= self._first and self._is_recent
        # A run that was stopped while it evaluated comes here again.
        if whole and not (goes_on and int(self.taken) == epoch):
            if not goes_on:
                self.begun.assign(epoch)
            self._move(1 / (epoch - int(self.begun) + 1))
            self.taken.assign(epoch)
        elif not goes_on:
            self._move(1.0)
        return goes_on and int(self.begun) < epoch

    @property
    def _is_recent(self) -> bool:
        """Whether at least half of what it holds is of epochs to be averaged."""
        begun, end = int(self.begun), int(self.taken) + 1
        held, wanted = end - begun, end - max(begun, self._first - 1)
        return begun >= 0 and 2 * wanted >= held

    def _move(self, share: float) -> None:
        average, weights = self._learner.average, self._learner.model.get_weights()
        assert average is not None
        if share < 1:
            pairs = zip(average.get_weights(), weights, strict=True)
            weights = [mean + (now - mean) * share for mean, now in pairs]
        average.set_weights(weights)


def make_statistics_step(
    model: keras.Model, strategy: tf.distribute.Strategy, xla: bool
) -> StatisticsStep:
    """Makes the function that takes a global batch into the moving statistics.

    After batch `n` they are the means of the statistics of batches 1 to `n`, and what
    they were before is forgotten.
    """
    statistics = statistics_of(model)
    replicas = strategy.num_replicas_in_sync
    logits_model = logits_of(model)
    share = 1.0 - BATCH_NORM["momentum"]

    def forward(images: tf.Tensor) -> tf.Tensor:
        return logits_model(images, training=True)

    if xla:
        forward = tf.function(forward, autograph=False, jit_compile=True)

    def replica_step(batch: Batch, number: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
        before = [variable.read_value() for variable in statistics]
        for variable in statistics:
            variable.assign(tf.zeros_like(variable))
        forward(batch[0])  # moves the statistics from 0 by `share` of the batch's own
        own = [variable.read_value() / share for variable in statistics]
        own, (stops,) = sum_over_replicas([own, [stop]], replicas)
        for variable, mean, total in zip(statistics, before, own, strict=True):
            now = total / replicas
            moved = mean + (now - mean) / tf.cast(number, now.dtype)
            # The first batch leaves no trace of before, not even by rounding.
            variable.assign(tf.where(number == 1, now, moved))
        return stops

    @tf.function(autograph=False)
    def step(batch: Batch, number: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
        stops = strategy.run(replica_step, args=(batch, number, stop))
        return strategy.experimental_local_results(stops)[0]

    def run(batch: Batch, number: int, stop: bool) -> bool:
        # Tensors, since the step would be traced anew for each Python value; of the
        # type of the statistics, which are summed with it.
        asked = tf.constant(float(stop), keras.config.floatx())
        return bool(step(batch, tf.constant(number), asked).numpy() > 0)

    return run
