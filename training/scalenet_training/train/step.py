"""One update and one evaluation step, on every replica of a strategy.

Forward pass, loss and gradients of a replica are one function, which XLA compiles as
a whole. What replicas have to agree on (gradients, batch norm statistics, sums over
examples, the wish to stop) is summed over them once, outside it; from there on all
replicas compute the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from scalenet_tf.layers import ScaleAggregation
from scalenet_tf.models import HEAD
from scalenet_training.data.batches import Batch
from scalenet_training.train.loss_scale import LossScale
from scalenet_training.train.sums import cross_entropy, sums

Gradients = list[tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Objective:
    """What is minimised, and how a step goes about it.

    Attributes:
        global_batch: Examples of a step over all replicas: losses are divided by it.
        label_smoothing: Part of the target spread evenly over all classes.
        weight_decay: L2 penalty of the decayed weights, weight_decay / 2 x |w|^2.
        decay_all: Whether BN weights and biases decay too, not kernels alone.
        gamma_l1: L1 penalty of the SA blocks' BN scales, gamma_l1 x sum(|gamma|).
        clip_norm: Largest global norm of the loss' gradient, without the penalty's, as
            in PyTorch; 0: any.
        accumulate: Parts in which a replica computes its batch, one after the other.
        average_decay: Decay of the moving average of the weights.
    """

    global_batch: int
    label_smoothing: float = 0.0
    weight_decay: float = 0.0
    decay_all: bool = False
    gamma_l1: float = 0.0
    clip_norm: float = 0.0
    accumulate: int = 1
    average_decay: float = 0.0

    def penalty_gradient(
        self, variable: keras.Variable, is_sa_gamma: bool
    ) -> tf.Tensor | float:
        """Gradient of the penalties on a variable."""
        gradient = 0.0
        if self.weight_decay and (self.decay_all or variable.name == "kernel"):
            gradient += self.weight_decay * variable.value
        if self.gamma_l1 and is_sa_gamma:
            gradient += self.gamma_l1 * tf.sign(variable.value)
        return gradient


@dataclasses.dataclass(frozen=True)
class Learner:
    """What a step changes.

    Attributes:
        model: The network.
        optimizer: Built for its trainable weights.
        average: The network whose weights are the moving average, if there is one.
        loss_scale: For float16 gradients.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    average: keras.Model | None = None
    loss_scale: LossScale | None = None

    @property
    def variables(self) -> list[keras.Variable]:
        """All that a step changes, but for the loss scale."""
        average = () if self.average is None else self.average.weights
        return [*self.model.weights, *self.optimizer.variables, *average]

    def sa_gammas(self) -> set[int]:
        """Identities of the scales of the SA blocks' batch norms."""
        return {
            id(norm.gamma)
            for layer in self.model.layers
            if isinstance(layer, ScaleAggregation)
            for norm in layer.norms.values()
        }


class StepReport(NamedTuple):
    """What a step tells, the same on all replicas and workers.

    Attributes:
        sums: Over the global batch, float64 `(SUMS,)`.
        stops: How many replicas belong to a worker that was asked to stop.
        diverged: Whether the loss or its gradient was no finite number; the weights
            are then as they were before the step.
    """

    sums: tf.Tensor
    stops: tf.Tensor
    diverged: tf.Tensor


# (batch of each replica, whether this worker was asked to stop) -> report
Step = Callable[[Batch, bool], StepReport]


def logits_of(model: keras.Model) -> keras.Model:
    """The model without the activation of its last layer; weights are shared."""
    return keras.Model(model.inputs, model.get_layer(HEAD).output)


def make_train_step(
    learner: Learner,
    objective: Objective,
    strategy: tf.distribute.Strategy,
    xla: bool,
) -> Step:
    """Makes the function that updates the learner with one global batch."""
    statistics = _batch_norm_statistics(learner.model)
    replicas = strategy.num_replicas_in_sync
    gradients_of = _accumulated(
        _make_gradients(learner.model, objective, xla), objective.accumulate
    )

    def replica_step(
        batch: Batch, stop: tf.Tensor, scale: tf.Tensor
    ) -> tuple[StepReport, tf.Tensor]:
        gradients, totals = gradients_of(batch, scale)
        own = [variable.read_value() for variable in statistics]
        gradients, own, (totals, stops) = _sum_over_replicas(
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
            lambda: _update(learner, objective, gradients, norm),
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
        report, usable = tf.nest.map_structure(
            lambda value: strategy.experimental_local_results(value)[0], outputs
        )
        if learner.loss_scale is not None:
            learner.loss_scale.update(usable)
        learner.optimizer.iterations.assign_add(1)
        return report

    return _with_flag(step)


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
        logits = _full_precision(logits_model(images, training=False))
        return sums(cross_entropy(logits, labels), logits, labels, weights)

    if xla:
        sums_of = tf.function(sums_of, jit_compile=True)

    def replica_step(batch: Batch, stop: tf.Tensor) -> StepReport:
        # A compiled function given to `run` itself would be compiled for all replicas
        # at once, which cannot reach the variables of the others.
        totals = sums_of(batch)
        ((totals, stops),) = _sum_over_replicas(
            [[totals, tf.cast(stop, totals.dtype)]], replicas
        )
        return StepReport(totals, stops, tf.constant(False))

    @tf.function
    def step(batch: Batch, stop: tf.Tensor) -> StepReport:
        report = strategy.run(replica_step, args=(batch, stop))
        return tf.nest.map_structure(
            lambda value: strategy.experimental_local_results(value)[0], report
        )

    return _with_flag(step)


def _make_gradients(
    model: keras.Model, objective: Objective, xla: bool
) -> Callable[[Batch, tf.Tensor], tuple[Gradients, tf.Tensor]]:
    """One replica's gradients of the scaled loss, and its sums over examples."""
    logits_model = logits_of(model)
    values = [variable.value for variable in model.trainable_variables]

    def gradients_of(batch: Batch, scale: tf.Tensor) -> tuple[Gradients, tf.Tensor]:
        images, labels, weights = batch
        with tf.GradientTape() as tape:
            logits = _full_precision(logits_model(images, training=True))
            losses = cross_entropy(logits, labels, objective.label_smoothing)
            loss = tf.reduce_sum(losses * weights) / objective.global_batch
            scaled = loss * tf.cast(scale, loss.dtype)
        gradients = tape.gradient(scaled, values)
        totals = sums(losses, logits, labels, weights)
        return gradients, tf.cast(totals, keras.config.floatx())

    # Synchronised batch norm needs the replica's context, which ends at the border of
    # another function: it is left part of the step where XLA does not compile it.
    return tf.function(gradients_of, jit_compile=True) if xla else gradients_of


def _accumulated(
    gradients_of: Callable[[Batch, tf.Tensor], tuple[Gradients, tf.Tensor]], parts: int
) -> Callable[[Batch, tf.Tensor], tuple[Gradients, tf.Tensor]]:
    if parts == 1:
        return gradients_of

    def of_all_parts(batch: Batch, scale: tf.Tensor) -> tuple[Gradients, tf.Tensor]:
        split = zip(*(tf.split(values, parts) for values in batch), strict=True)
        gradients, totals = gradients_of(next(split), scale)
        for part in split:
            # One after the other, so that the memory is that of a part.
            with tf.control_dependencies(gradients):
                part = tf.nest.map_structure(tf.identity, part)
            more, more_totals = gradients_of(part, scale)
            gradients = [a + b for a, b in zip(gradients, more, strict=True)]
            totals += more_totals
        return gradients, totals

    return of_all_parts


def _sum_over_replicas(
    groups: Sequence[Sequence[tf.Tensor]], replicas: int
) -> list[list[tf.Tensor]]:
    """Sums of all tensors over the replicas, in one packed all-reduce."""
    if replicas == 1:
        return [list(group) for group in groups]
    context = tf.distribute.get_replica_context()
    # `stop_gradient`, since `all_reduce` walks back through the graph of all replicas
    # for a gradient that nobody asks for. It also puts what came as an argument on the
    # replica's device, which `all_reduce` asks for.
    return context.all_reduce(
        tf.distribute.ReduceOp.SUM, tf.nest.map_structure(tf.stop_gradient, groups)
    )


def _update(
    learner: Learner, objective: Objective, gradients: Gradients, norm: tf.Tensor
) -> tf.Tensor:
    """Clips, adds the penalties' gradients, updates weights and average."""
    optimizer = learner.optimizer
    if objective.clip_norm:
        gradients, _ = tf.clip_by_global_norm(
            gradients, objective.clip_norm, use_norm=norm
        )
    rate = optimizer.learning_rate
    sa_gammas = learner.sa_gammas()
    for gradient, variable in zip(
        gradients, learner.model.trainable_variables, strict=True
    ):
        gradient += objective.penalty_gradient(variable, id(variable) in sa_gammas)
        # Not `apply_gradients`, which would sum over the replicas once more.
        optimizer.update_step(gradient, variable, rate)
    if learner.average is not None:
        _update_average(
            learner.average,
            learner.model,
            objective.average_decay,
            optimizer.iterations + 1,
        )
    return tf.constant(True)


def _update_average(
    average: keras.Model, model: keras.Model, decay: float, step: tf.Tensor
) -> None:
    """Moves the average of weights and BN statistics; a young one moves faster."""
    step = tf.cast(step, keras.config.floatx())
    decay = tf.minimum((1.0 + step) / (10.0 + step), decay)
    for mean, weight in zip(average.weights, model.weights, strict=True):
        rate = tf.cast(1.0 - decay, mean.dtype)
        mean.value.assign_add(rate * (weight.value - mean.value))


def _batch_norm_statistics(model: keras.Model) -> list[tf.Variable]:
    return [
        variable.value
        for variable in model.non_trainable_variables
        if variable.name in ("moving_mean", "moving_variance")
    ]


def _full_precision(logits: tf.Tensor) -> tf.Tensor:
    """A loss of 16 bits would be worth nothing."""
    return tf.cast(logits, keras.config.floatx())


def _with_flag(step: Callable[[Batch, tf.Tensor], StepReport]) -> Step:
    def with_flag(batch: Batch, stop: bool = False) -> StepReport:
        # A tensor, since the step would be traced anew for each Python value.
        return step(batch, tf.constant(float(stop), keras.config.floatx()))

    with_flag.traced = step
    return with_flag
