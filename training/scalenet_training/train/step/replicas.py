"""What the replicas of a strategy have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import tensorflow as tf

T = TypeVar("T")


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
