"""The two steps over all replicas: one updates the network, one evaluates it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import keras
import tensorflow as tf

from scalenet_training.data.batches import Batch
from scalenet_training.networks.logits import logits_of
from scalenet_training.train.step.gradients import full_precision, make_gradients
from scalenet_training.train.step.losses import cross_entropy
from scalenet_training.train.step.objective import Objective
from scalenet_training.train.step.stochastic_depth import (
    StochasticDepth,
    part_of_replica,
)
from scalenet_training.train.step.sums import sum_over_replicas, sums
from scalenet_training.train.step.update import Learner, statistics_of, update

T = TypeVar("T")
# Without AutoGraph, which no step needs, tracing takes four fifths of its time.
_function = functools.partial(tf.function, autograph=False)


class StepReport(NamedTuple):
    """What a step tells; the same on all replicas and workers.

    Attributes:
        sums: Sums over the global batch, float64 `(SUMS,)`.
        stops: Number of replicas whose worker was asked to stop.
        diverged: Whether the loss or its gradient was not finite; the weights are then
            as they were before the step.
        logits: Of an evaluation, those of each replica of this worker, `(batch,
            classes)`.
    """

    sums: tf.Tensor
    stops: tf.Tensor
    diverged: tf.Tensor
    logits: tuple[tf.Tensor, ...] = ()


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


def make_train_step(
    learner: Learner,
    objective: Objective,
    strategy: tf.distribute.Strategy,
    xla: bool,
) -> Step:
    """Makes the function that updates the learner with one global batch."""
    statistics = statistics_of(learner.model)
    replicas = strategy.num_replicas_in_sync
    depth = _stochastic_depth(learner, objective)
    gradients_of = make_gradients(learner.model, objective, xla, depth)
    change = _make_change(learner, objective, replicas, xla)

    def replica_step(
        batch: Batch, stop: tf.Tensor, scale: tf.Tensor, *drawn: tf.Tensor
    ) -> tuple[StepReport, tf.Tensor]:
        more = (part_of_replica(values, replicas) for values in drawn)
        gradients, totals = gradients_of((*batch, *more), scale)
        own = [variable.read_value() for variable in statistics]
        gradients, own, (totals, stops) = sum_over_replicas(
            [gradients, own, [totals, stop]], replicas
        )
        usable = change(gradients, own, totals[0], scale)
        # Gradients that overflow at a scale are a matter of the scale.
        reducible = tf.math.is_finite(totals[0]) & (scale > 1.0)
        diverged = ~(usable | reducible)
        return StepReport(tf.cast(totals, tf.float64), stops, diverged), usable

    @_function
    def step(batch: Batch, stop: tf.Tensor) -> StepReport:
        scale = tf.ones((), keras.config.floatx())
        if learner.loss_scale is not None:
            scale = learner.loss_scale.value()
        drawn = []
        if depth is not None:
            made = learner.optimizer.iterations.value
            drawn.append(depth.draw(made, objective.global_batch))
        outputs = strategy.run(replica_step, args=(batch, stop, scale, *drawn))
        report, usable = _of_one_replica(outputs, strategy)
        if learner.loss_scale is not None:
            learner.loss_scale.update(usable)
        learner.optimizer.iterations.assign_add(1)
        if learner.late is not None and not learner.waits:
            learner.late.iterations.assign_add(1)
        return report

    return Step(step)


def _stochastic_depth(learner: Learner, objective: Objective) -> StochasticDepth | None:
    # What is frozen computes as it does in inference.
    if learner.waits or not objective.stochastic_depth:
        return None
    return StochasticDepth(learner.model, objective.stochastic_depth, objective.seed)


def _make_change(
    learner: Learner, objective: Objective, replicas: int, xla: bool
) -> Callable[..., tf.Tensor]:
    """Makes the function that changes a replica's variables, given sums over all."""

    def change(
        gradients: list[tf.Tensor],
        own: list[tf.Tensor],
        loss_sum: tf.Tensor,
        scale: tf.Tensor,
    ) -> tf.Tensor:
        """Returns whether the gradients were finite."""
        # Replicas saw other examples: without this, what is evaluated and saved would
        # be the statistics of the first one's.
        for variable, total in zip(statistics_of(learner.model), own, strict=True):
            variable.assign(total / replicas)
        if learner.loss_scale is not None:
            gradients = [gradient / scale for gradient in gradients]
        norm = tf.linalg.global_norm(gradients)
        usable = tf.math.is_finite(norm) & tf.math.is_finite(loss_sum)
        tf.cond(
            usable,
            lambda: update(learner, objective, gradients, norm),
            lambda: usable,
        )
        return usable

    if not xla:
        return change
    # Thousands of operations on small arrays, each a kernel of its own otherwise.
    return _function(change, jit_compile=True)


def make_evaluation_step(
    model: keras.Model, strategy: tf.distribute.Strategy, xla: bool
) -> Step:
    """Makes the function that evaluates the model on one global batch.

    The sums are over the examples of weight 1; `diverged` is always false.
    """
    logits_model = logits_of(model)
    replicas = strategy.num_replicas_in_sync

    def sums_of(batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels, weights = batch
        logits = full_precision(logits_model(images, training=False))
        return sums(cross_entropy(logits, labels), logits, labels, weights), logits

    if xla:
        sums_of = _function(sums_of, jit_compile=True)

    def replica_step(batch: Batch, stop: tf.Tensor) -> StepReport:
        # A compiled function given to `run` itself would be compiled for all replicas
        # at once, which cannot reach the variables of the others.
        totals, logits = sums_of(batch)
        ((totals, stops),) = sum_over_replicas(
            [[totals, tf.cast(stop, totals.dtype)]], replicas
        )
        return StepReport(totals, stops, tf.constant(False), (logits,))

    @_function
    def step(batch: Batch, stop: tf.Tensor) -> StepReport:
        outputs = strategy.run(replica_step, args=(batch, stop))
        own = strategy.experimental_local_results(outputs.logits[0])
        return _of_one_replica(outputs, strategy)._replace(logits=own)

    return Step(step)


def _of_one_replica(values: T, strategy: tf.distribute.Strategy) -> T:
    """The values of this worker's first replica, where all replicas have the same."""
    return tf.nest.map_structure(
        lambda value: strategy.experimental_local_results(value)[0], values
    )
