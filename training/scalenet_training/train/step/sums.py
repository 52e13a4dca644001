"""Sums over examples, which add up over batches and replicas: losses and errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

# Sums over examples: loss, top-1 errors, top-5 errors, number of examples.
SUMS = 4


def sums(
    losses: tf.Tensor, logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """Weighted sums of loss, top-1 errors, top-5 errors and examples, float64."""
    rank = _rank(logits, labels)
    per_example = [
        losses,
        tf.cast(rank >= 1, losses.dtype),
        tf.cast(rank >= 5, losses.dtype),
        tf.ones_like(losses),
    ]
    # Padding may have any loss, also NaN.
    counted = tf.where(weights > 0, tf.stack(per_example), 0.0)
    return tf.reduce_sum(tf.cast(counted, tf.float64), axis=1)


def means(totals: Any) -> dict[str, float]:
    """Mean loss and error rates, from sums over examples."""
    loss, top1, top5, count = (float(total) for total in totals)
    return {
        "loss": loss / count,
        "top1_error": top1 / count,
        "top5_error": top5 / count,
    }


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


def _rank(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """The number of classes that rank above the right one; ties as in argmax.

    It is larger than the number of classes where a logit is NaN or infinite: such an
    answer is wrong. This is a check of its own, because TensorFlow's graphs turn
    `~(a <= b)` into `a > b`, which differs for NaN.
    """
    labels = tf.cast(labels, tf.int32)
    right = tf.gather(logits, labels[:, None], batch_dims=1)
    classes = tf.range(logits.shape[-1])
    before = (logits > right) | ((logits == right) & (classes < labels[:, None]))
    rank = tf.reduce_sum(tf.cast(before, tf.int32), axis=1)
    finite = tf.reduce_all(tf.math.is_finite(logits), axis=1)
    return tf.where(finite, rank, tf.int32.max)
