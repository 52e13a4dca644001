"""What a step takes and tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from scalenet_training.data.batches import Batch


class StepReport(NamedTuple):
    """What a step tells; the same on all replicas and workers.

    Attributes:
        sums: Sums over the global batch, float64 `(SUMS,)`.
        stops: Number of replicas whose worker was asked to stop.
        diverged: Whether the loss or its gradient was not finite; the weights are then
            as they were before the step.
    """

    sums: tf.Tensor
    stops: tf.Tensor
    diverged: tf.Tensor


# (batch of each replica, whether this worker was asked to stop) -> report
Step = Callable[..., StepReport]


def with_flag(step: Callable[[Batch, tf.Tensor], StepReport]) -> Step:
    """The step as a function of a batch and, if one likes, a Python bool."""

    def flagged(batch: Batch, stop: bool = False) -> StepReport:
        # A tensor, since the step would be traced anew for each Python value.
        return step(batch, tf.constant(float(stop), keras.config.floatx()))

    flagged.traced = step
    return flagged
