"""The update that every replica makes of its copy of the network."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from scalenet_tf.layers import ScaleAggregation
from scalenet_training.train.step.loss_scale import LossScale
from scalenet_training.train.step.objective import Objective


@dataclasses.dataclass(frozen=True)
class Learner:
    """What a step changes.

    Attributes:
        model: The network.
        optimizer: Built for the trainable weights of the network.
        average: The network whose weights are the moving average, if there is one.
        loss_scale: The scale of the loss for float16 gradients, if there is one.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    average: keras.Model | None = None
    loss_scale: LossScale | None = None

    @property
    def variables(self) -> list[keras.Variable]:
        """All that a step changes, except the loss scale."""
        average = () if self.average is None else self.average.weights
        return [*self.model.weights, *self.optimizer.variables, *average]

    @property
    def statistics(self) -> list[tf.Variable]:
        """The moving statistics of the batch norms."""
        return [
            variable.value
            for variable in self.model.non_trainable_variables
            if variable.name in ("moving_mean", "moving_variance")
        ]

    def sa_gammas(self) -> set[int]:
        """Identities of the scales of the SA blocks' batch norms."""
        return {
            id(norm.gamma)
            for layer in self.model.layers
            if isinstance(layer, ScaleAggregation)
            for norm in layer.norms.values()
        }


def update(
    learner: Learner, objective: Objective, gradients: list[tf.Tensor], norm: tf.Tensor
) -> tf.Tensor:
    """Clips, adds the gradients of the penalties, updates weights and average.

    Args:
        learner: What is changed.
        objective: Clipping, penalties and the decay of the average.
        gradients: Gradients of the loss, one for each trainable weight.
        norm: Their global norm.

    Returns:
        True, as a condition of a graph needs a value from both of its branches.
    """
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
        step = optimizer.iterations + 1
        _update_average(learner.average, learner.model, objective.average_decay, step)
    return tf.constant(True)


def _update_average(
    average: keras.Model, model: keras.Model, decay: float, step: tf.Tensor
) -> None:
    """Moves the average of weights and statistics; a young one moves faster."""
    step = tf.cast(step, keras.config.floatx())
    decay = tf.minimum((1.0 + step) / (10.0 + step), decay)
    for mean, weight in zip(average.weights, model.weights, strict=True):
        rate = tf.cast(1.0 - decay, mean.dtype)
        mean.value.assign_add(rate * (weight.value - mean.value))
