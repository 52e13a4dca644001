"""One update and one evaluation step, on every replica of a strategy.

Forward pass, loss and gradients of a replica are one function, which XLA compiles as
a whole; the sum over replicas happens outside it, in the optimizer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from scalenet_tf.models import HEAD
from scalenet_training.pipeline import Batch

# Sums over examples: loss, top-1 errors, top-5 errors, number of examples.
SUMS = 4


@dataclasses.dataclass(frozen=True)
class Objective:
    """What is minimised.

    Attributes:
        global_batch: Examples of a step over all replicas: losses are divided by it.
        label_smoothing: Part of the target spread evenly over all classes.
        weight_decay: L2 penalty of the decayed weights, weight_decay / 2 x |w|^2.
        decay_all: Whether BN weights and biases decay too, not kernels alone.
    """

    global_batch: int
    label_smoothing: float = 0.0
    weight_decay: float = 0.0
    decay_all: bool = False

    def decays(self, variable: keras.Variable) -> bool:
        """Whether the penalty is on this variable."""
        return self.decay_all or variable.name == "kernel"


def logits_of(model: keras.Model) -> keras.Model:
    """The model without the activation of its last layer; weights are shared."""
    return keras.Model(model.inputs, model.get_layer(HEAD).output)


def make_train_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    objective: Objective,
    strategy: tf.distribute.Strategy,
    xla: bool,
    average: keras.Model | None = None,
    average_decay: float = 0.0,
) -> Callable[[Batch], tf.Tensor]:
    """Makes the function that updates the model with one global batch.

    Returns:
        Batch of each replica -> sums over the global batch, float64 `(SUMS,)`.
    """
    logits_model = logits_of(model)
    variables = model.trainable_variables
    replicas = strategy.num_replicas_in_sync

    @tf.function(jit_compile=xla)
    def gradients_of(batch: Batch) -> tuple[list[tf.Tensor], tf.Tensor]:
        images, labels, weights = batch
        with tf.GradientTape() as tape:
            logits = logits_model(images, training=True)
            losses = cross_entropy(logits, labels, objective.label_smoothing)
            loss = tf.reduce_sum(losses * weights) / objective.global_batch
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        # The penalty counts once: every replica adds its part before the sum.
        share = objective.weight_decay / replicas
        if share:
            gradients = [
                gradient + share * variable.value
                if objective.decays(variable)
                else gradient
                for gradient, variable in zip(gradients, variables, strict=True)
            ]
        return gradients, sums(losses, logits, labels, weights)

    def replica_step(batch: Batch) -> tf.Tensor:
        gradients, replica_sums = gradients_of(batch)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        if average is not None:
            _update_average(average, model, average_decay, optimizer.iterations)
        return replica_sums

    return _on_all_replicas(replica_step, strategy)


def make_evaluation_step(
    model: keras.Model, strategy: tf.distribute.Strategy, xla: bool
) -> Callable[[Batch], tf.Tensor]:
    """Makes the function that evaluates the model on one global batch.

    Returns:
        Batch of each replica -> sums over the examples of weight 1, float64 `(SUMS,)`.
    """
    logits_model = logits_of(model)

    @tf.function(jit_compile=xla)
    def sums_of(batch: Batch) -> tf.Tensor:
        images, labels, weights = batch
        logits = logits_model(images, training=False)
        return sums(cross_entropy(logits, labels), logits, labels, weights)

    def replica_step(batch: Batch) -> tf.Tensor:
        # A compiled function given to `run` itself would be compiled for all replicas
        # at once, which cannot reach the variables of the others.
        return sums_of(batch)

    return _on_all_replicas(replica_step, strategy)


def _on_all_replicas(
    replica_step: Callable[[Batch], tf.Tensor], strategy: tf.distribute.Strategy
) -> Callable[[Batch], tf.Tensor]:
    @tf.function
    def step(batch: Batch) -> tf.Tensor:
        replica_sums = strategy.run(replica_step, args=(batch,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, replica_sums, axis=None)

    return step


def cross_entropy(
    logits: tf.Tensor, labels: tf.Tensor, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Loss of each example, `(batch,)`."""
    classes = logits.shape[-1]
    targets = tf.one_hot(labels, classes, dtype=logits.dtype)
    targets = targets * (1.0 - label_smoothing) + label_smoothing / classes
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


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
    """Loss and errors as fractions, from sums over examples."""
    loss, top1, top5, count = (float(total) for total in totals)
    return {
        "loss": loss / count,
        "top1_error": top1 / count,
        "top5_error": top5 / count,
    }


def _rank(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """How many classes come before the right one; ties as in argmax, NaN as wrong."""
    labels = tf.cast(labels, tf.int32)
    right = tf.gather(logits, labels[:, None], batch_dims=1)
    earlier = tf.range(logits.shape[-1]) < labels[:, None]
    before = ~(logits <= right) | ((logits == right) & earlier)
    return tf.reduce_sum(tf.cast(before, tf.int32), axis=1)


def _update_average(
    average: keras.Model, model: keras.Model, decay: float, step: Any
) -> None:
    """Moves the average of weights and BN statistics; a young one moves faster."""
    step = tf.cast(step, keras.config.floatx())
    decay = tf.minimum(decay, (1.0 + step) / (10.0 + step))
    for mean, weight in zip(average.weights, model.weights, strict=True):
        rate = tf.cast(1.0 - decay, mean.dtype)
        mean.value.assign_add(rate * (weight.value - mean.value))
