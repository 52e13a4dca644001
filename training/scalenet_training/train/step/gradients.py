"""Loss and gradients of one replica."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from scalenet_training.networks.logits import logits_of
from scalenet_training.train.step.losses import dominant
from scalenet_training.train.step.objective import Objective
from scalenet_training.train.step.sums import sums

# (batch, loss scale) -> gradients of the scaled loss, sums over the batch; what follows
# the batch's weights goes to the network with the images
Gradients = Callable[[tuple[Any, ...], tf.Tensor], tuple[list[tf.Tensor], tf.Tensor]]


def full_precision(logits: tf.Tensor) -> tf.Tensor:
    """The logits in Keras' float type: a loss of 16 bits would be too coarse."""
    return tf.cast(logits, keras.config.floatx())


def make_gradients(
    model: keras.Model,
    objective: Objective,
    xla: bool,
    forward: Callable[..., tf.Tensor] | None = None,
) -> Gradients:
    """Makes the function that computes one replica's gradients and sums.

    Args:
        model: The network.
        objective: What is minimised.
        xla: Whether XLA compiles the function.
        forward: Gives the logits of images in training, if not the network as it is.
    """
    logits_in_training = logits_of(model) if forward is None else forward
    values = [variable.value for variable in model.trainable_variables]

    def gradients_of(
        batch: tuple[Any, ...], scale: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        images, labels, weights, *more = batch
        distillation = objective.distillation
        taught = None if distillation is None else distillation.targets(images)
        with tf.GradientTape() as tape:
            logits = logits_in_training(images, *more, training=True)
            logits = full_precision(logits)
            losses = objective.loss(logits, labels)
            if distillation is not None:
                losses = distillation.mixed(losses, logits, taught)
            loss = tf.reduce_sum(losses * weights) / objective.global_batch
            scaled = loss * tf.cast(scale, loss.dtype)
        gradients = tape.gradient(scaled, values)
        totals = sums(losses, logits, dominant(labels), weights)
        return gradients, tf.cast(totals, keras.config.floatx())

    # Synchronised batch norm needs the replica's context, which ends at the border of
    # another function: it is left part of the step where XLA does not compile it.
    compiled = (
        tf.function(gradients_of, autograph=False, jit_compile=True)
        if xla
        else gradients_of
    )
    return _accumulated(compiled, objective.accumulate)


def _accumulated(gradients_of: Gradients, parts: int) -> Gradients:
    """The same over the batch in parts, which adds up to the whole."""
    if parts == 1:
        return gradients_of

    def of_all_parts(
        batch: tuple[Any, ...], scale: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
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
