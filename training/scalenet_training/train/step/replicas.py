"""What the replicas of a strategy add up, and what a step tells of all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import keras
import tensorflow as tf

from scalenet_training.data.batches import Batch

T = TypeVar("T")


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


@dataclasses.dataclass(frozen=True)
class Step:
    """A step over all replicas.

    Attributes:
        traced: The step as a graph, of the batch of each replica and a flag.
    """

    traced: Callable[[Batch, tf.Tensor], StepReport]

    def __call__(self, batch: Batch, stop: bool = False) -> StepReport:
        """Runs the step; `stop` says whether this worker was asked to stop."""
        # A tensor, since the step would be traced anew for each Python value.
        return self.traced(batch, tf.constant(float(stop), keras.config.floatx()))


def sum_over_replicas(
    groups: Sequence[Sequence[tf.Tensor]], replicas: int
) -> list[list[tf.Tensor]]:
    """Sums every tensor over the replicas, in one packed all-reduce."""
    if replicas == 1:
        return [list(group) for group in groups]
    context = tf.distribute.get_replica_context()
    # `stop_gradient`, since `all_reduce` walks back through the graph of all replicas
    # for a gradient that nobody asks for. It also puts what came as an argument on the
    # replica's device, which `all_reduce` asks for.
    return context.all_reduce(
        tf.distribute.ReduceOp.SUM, tf.nest.map_structure(tf.stop_gradient, groups)
    )


def of_one_replica(values: T, strategy: tf.distribute.Strategy) -> T:
    """The values of this worker's first replica, where all replicas have the same."""
    return tf.nest.map_structure(
        lambda value: strategy.experimental_local_results(value)[0], values
    )
