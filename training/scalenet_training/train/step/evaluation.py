"""The step that evaluates a network on one global batch."""

from __future__ import annotations

import keras
import tensorflow as tf

from scalenet_training.data.batches import Batch
from scalenet_training.train.step.gradients import full_precision, logits_of
from scalenet_training.train.step.replicas import (
    Step,
    StepReport,
    of_one_replica,
    sum_over_replicas,
)
from scalenet_training.train.step.sums import cross_entropy, sums


def make_evaluation_step(
    model: keras.Model, strategy: tf.distribute.Strategy, xla: bool
) -> Step:
    """Makes the function that evaluates the model on one global batch.

    The sums are over the examples of weight 1; `diverged` is always false.
    """
    logits_model = logits_of(model)
    replicas = strategy.num_replicas_in_sync

    def sums_of(batch: Batch) -> tf.Tensor:
        images, labels, weights = batch
        logits = full_precision(logits_model(images, training=False))
        return sums(cross_entropy(logits, labels), logits, labels, weights)

    if xla:
        sums_of = tf.function(sums_of, jit_compile=True)

    def replica_step(batch: Batch, stop: tf.Tensor) -> StepReport:
        # A compiled function given to `run` itself would be compiled for all replicas
        # at once, which cannot reach the variables of the others.
        totals = sums_of(batch)
        ((totals, stops),) = sum_over_replicas(
            [[totals, tf.cast(stop, totals.dtype)]], replicas
        )
        return StepReport(totals, stops, tf.constant(False))

    @tf.function
    def step(batch: Batch, stop: tf.Tensor) -> StepReport:
        return of_one_replica(strategy.run(replica_step, args=(batch, stop)), strategy)

    return Step(step)
