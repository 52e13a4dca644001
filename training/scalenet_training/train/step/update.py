"""The update that every replica makes of its copy of the network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import keras
import tensorflow as tf

from scalenet_tf.layers import ScaleAggregation
from scalenet_tf.models import HEAD
from scalenet_training.train.step.loss_scale import LossScale
from scalenet_training.train.step.objective import Objective


@dataclasses.dataclass(frozen=True)
class Learner:
    """What a step changes.

    Attributes:
        model: The network.
        optimizer: Built for the trainable weights of the network.
        average: The network that is evaluated and saved in place of this one, if there
            is one: its weights are an average of this one's, or its images are of
            another size.
        loss_scale: The scale of the loss for float16 gradients, if there is one.
        late: The optimizer of all but the classifier, where that trains alone at first;
            `optimizer` is the classifier's then. It counts its own steps, from which
            Adam's rules correct their means.
        rate_factors: Factor of the learning rate by the name of a layer; 1 for others.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    average: keras.Model | None = None
    loss_scale: LossScale | None = None
    late: keras.optimizers.Optimizer | None = None
    rate_factors: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def waits(self) -> bool:
        """Whether the classifier trains alone until `begin_late`."""
        return self.late is not None and not self._body[0].trainable

    @property
    def _body(self) -> list[keras.layers.Layer]:
        return [la for la in self.model.layers if la.weights and la.name != HEAD]

    def begin_late(self) -> None:
        """Lets all layers train; steps that were made before do not know of it."""
        set_body_trainable(self.model, True)

    def optimizer_of(self, variable: keras.Variable) -> keras.optimizers.Optimizer:
        """The optimizer that a variable of the network was given to."""
        if self.late is None or _layer_of(variable) == HEAD:
            return self.optimizer
        return self.late

    def rate_factor(self, variable: keras.Variable) -> float:
        """Factor of the learning rate for a variable of the network."""
        return self.rate_factors.get(_layer_of(variable), 1.0)

    @property
    def variables(self) -> list[keras.Variable]:
        """All that a step changes, except the loss scale."""
        average = () if self.average is None else self.average.weights
        late = () if self.late is None else self.late.variables
        return [*self.model.weights, *self.optimizer.variables, *late, *average]

    def sa_gammas(self) -> set[int]:
        """Identities of the scales of the SA blocks' batch norms."""
        return {
            id(norm.gamma)
            for layer in self.model.layers
            if isinstance(layer, ScaleAggregation)
            for norm in layer.norms.values()
        }


def statistics_of(model: keras.Model) -> list[tf.Variable]:
    """The moving statistics of the batch norms that are not frozen."""
    return [
        variable.value
        for layer in model.layers
        if layer.trainable
        for variable in layer.non_trainable_variables
        if variable.name in ("moving_mean", "moving_variance")
    ]


def set_body_trainable(model: keras.Model, trainable: bool) -> None:
    """Lets all layers but the classifier train, or freezes them."""
    for layer in model.layers:
        layer.trainable = trainable or layer.name == HEAD


def _layer_of(variable: keras.Variable) -> str:
    """The name of the network's layer that has a variable."""
    return variable.path.split("/")[0]


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
    if objective.clip_norm:
        gradients, _ = tf.clip_by_global_norm(
            gradients, objective.clip_norm, use_norm=norm
        )
    rate = learner.optimizer.learning_rate
    sa_gammas = learner.sa_gammas()
    for gradient, variable in zip(
        gradients, learner.model.trainable_variables, strict=True
    ):
        gradient += objective.penalty_gradient(variable, id(variable) in sa_gammas)
        # Not `apply_gradients`, which would sum over the replicas once more.
        optimizer = learner.optimizer_of(variable)
        optimizer.update_step(gradient, variable, rate * learner.rate_factor(variable))
    if learner.average is not None and objective.average_decay:
        step = learner.optimizer.iterations + 1
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
