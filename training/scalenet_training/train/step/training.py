"""The step that updates a network with one global batch."""

from __future__ import annotations

import keras
import tensorflow as tf

from scalenet_training.data.batches import Batch
from scalenet_training.train.step.gradients import make_gradients
from scalenet_training.train.step.objective import Objective
from scalenet_training.train.step.replicas import (
    Step,
    StepReport,
    of_one_replica,
    sum_over_replicas,
)
from scalenet_training.train.step.update import Learner, update


def make_train_step(
    learner: Learner,
    objective: Objective,
    strategy: tf.distribute.Strategy,
    xla: bool,
) -> Step:
    """Makes the function that updates the learner with one global batch."""
    statistics = learner.statistics
    replicas = strategy.num_replicas_in_sync
    gradients_of = make_gradients(learner.model, objective, xla)

    def replica_step(
        batch: Batch, stop: tf.Tensor, scale: tf.Tensor
    ) -> tuple[StepReport, tf.Tensor]:
        gradients, totals = gradients_of(batch, scale)
        own = [variable.read_value() for variable in statistics]
        gradients, own, (totals, stops) = sum_over_replicas(
            [gradients, own, [totals, stop]], replicas
        )
        # Replicas saw other examples: without this, what is evaluated and saved would
        # be the statistics of the first one's.
        for variable, total in zip(statistics, own, strict=True):
            variable.assign(total / replicas)
        if learner.loss_scale is not None:
            gradients = [gradient / scale for gradient in gradients]
        norm = tf.linalg.global_norm(gradients)
        usable = tf.math.is_finite(norm) & tf.math.is_finite(totals[0])
        tf.cond(
            usable,
            lambda: update(learner, objective, gradients, norm),
            lambda: usable,
        )
        # Gradients that overflow at a scale are a matter of the scale.
        reducible = tf.math.is_finite(totals[0]) & (scale > 1.0)
        diverged = ~(usable | reducible)
        return StepReport(tf.cast(totals, tf.float64), stops, diverged), usable

    @tf.function
    def step(batch: Batch, stop: tf.Tensor) -> StepReport:
        scale = tf.ones((), keras.config.floatx())
        if learner.loss_scale is not None:
            scale = learner.loss_scale.value()
        outputs = strategy.run(replica_step, args=(batch, stop, scale))
        report, usable = of_one_replica(outputs, strategy)
        if learner.loss_scale is not None:
            learner.loss_scale.update(usable)
        learner.optimizer.iterations.assign_add(1)
        return report

    return Step(step)
