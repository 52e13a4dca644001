"""The optimizers of a run, a row each: how it is made, and how it decays weights.

The step updates a variable by `update_step`, outside of which Keras applies decoupled
weight decay: the classes here have it in their `update_step`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from scalenet_tf.models import HEAD
from scalenet_training.settings.optimisation import OWN_SETTINGS
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.step.objective import decays


class _DecaysInItsStep(keras.optimizers.Optimizer):
    """Decoupled weight decay, w = w - rate x decay x w, as part of `update_step`.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Decays the variable, if it decays, and makes the optimizer's step."""
        if self.weight_decay and self._use_weight_decay(variable):
            factor = tf.cast(learning_rate, variable.dtype) * self.weight_decay
            variable.assign_sub(variable * factor)
        super().update_step(gradient, variable, learning_rate)

    def _apply_weight_decay(self, variables: Any) -> None:
        """Nothing: `Optimizer.apply` would decay a second time."""


class AdamW(_DecaysInItsStep, keras.optimizers.AdamW):
    """Keras' AdamW for a step that calls `update_step`."""


class Lamb(_DecaysInItsStep, keras.optimizers.Lamb):
    """LAMB as published: the decay is part of the step that the trust ratio scales.

    Keras' class decays beside the ratio, which makes the same `weight_decay` many times
    as strong, and scales every variable. Here, as in the authors' code, what does not
    decay (batch norms and biases) makes Adam's step, without a ratio.

    Source: You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76
    minutes", 2020, algorithm 2.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Makes the step of one variable."""
        dtype = variable.dtype
        rate, gradient = (tf.cast(x, dtype) for x in (learning_rate, gradient))
        step = tf.cast(self.iterations + 1, dtype)
        index = self._get_variable_index(variable)
        corrected = []
        for slots, beta, sample in (
            (self._momentums, self.beta_1, gradient),
            (self._velocities, self.beta_2, tf.square(gradient)),
        ):
            mean = slots[index].value
            mean.assign_add((1.0 - beta) * (sample - mean))
            corrected.append(mean / (1.0 - tf.pow(tf.constant(beta, dtype), step)))
        update = corrected[0] / (tf.sqrt(corrected[1]) + self.epsilon)
        if self._use_weight_decay(variable):
            weights = tf.convert_to_tensor(variable)
            update += (self.weight_decay or 0.0) * weights
            rate *= _trust_ratio(weights, update)
        variable.assign_sub(rate * update)


def _trust_ratio(weights: tf.Tensor, update: tf.Tensor) -> tf.Tensor:
    size, change = tf.norm(weights), tf.norm(update)
    both = (size > 0) & (change > 0)
    return tf.where(both, size / tf.where(both, change, 1.0), tf.ones_like(size))


class Muon(_DecaysInItsStep, keras.optimizers.Muon):
    """Muon for convolutions, whose kernels are matrices of (inputs, filters).

    Keras' class makes Muon's step for variables of rank 2 alone, which in these
    networks is the classifier: the one matrix that is to have AdamW's.

    Sources: Jordan et al., "Muon: An optimizer for hidden layers in neural networks",
    2024; Liu et al., "Muon is Scalable for LLM Training", 2025, for the step's size.
    """

    def _should_use_adamw(self, variable: Any) -> bool:
        return len(variable.shape) < 2 or HEAD in variable.path.split("/")

    def zeropower_via_newtonschulz5(self, x: tf.Tensor, steps: int) -> tf.Tensor:
        """The nearest orthogonal matrix, about, in the shape of the kernel."""
        flat = super().zeropower_via_newtonschulz5(_as_matrix(x), steps)
        return tf.reshape(flat, x.shape)

    def lr_adjust(self, x: tf.Tensor) -> tf.Tensor:
        """Scales a step to the size of AdamW's."""
        return tf.reshape(super().lr_adjust(_as_matrix(x)), x.shape)


def _as_matrix(kernel: tf.Tensor) -> tf.Tensor:
    return tf.reshape(kernel, (-1, kernel.shape[-1]))


@dataclasses.dataclass(frozen=True)
class OptimizerKind:
    """An optimizer that `--optimizer` names.

    Attributes:
        make: Its constructor, of a learning rate and what follows.
        arguments: Setting -> the constructor's name for it.
        decoupled: Whether the decay is its own, and no penalty in the gradient.
    """

    make: Callable[..., keras.optimizers.Optimizer]
    arguments: Mapping[str, str]
    decoupled: bool


def _same(kind: str) -> dict[str, str]:
    return {name: name for name in OWN_SETTINGS[kind]}


_ADAM_IN_MUON = {"beta_1": "adam_beta_1", "beta_2": "adam_beta_2"}

OPTIMIZERS: Mapping[str, OptimizerKind] = {
    "sgd": OptimizerKind(keras.optimizers.SGD, _same("sgd"), decoupled=False),
    "adamw": OptimizerKind(AdamW, _same("adamw"), decoupled=True),
    "lamb": OptimizerKind(Lamb, _same("lamb"), decoupled=True),
    "muon": OptimizerKind(Muon, _same("muon") | _ADAM_IN_MUON, decoupled=True),
}


def make_optimizer(
    config: TrainConfig,
    schedule: keras.optimizers.schedules.LearningRateSchedule,
    variables: Sequence[keras.Variable],
) -> keras.optimizers.Optimizer:
    """Makes the optimizer of the settings, built for the variables."""
    kind = OPTIMIZERS[config.optimizer]
    arguments = {
        argument: getattr(config, name) for name, argument in kind.arguments.items()
    }
    if kind.decoupled:
        arguments["weight_decay"] = config.weight_decay
    optimizer = kind.make(schedule, **arguments)
    if kind.decoupled:
        optimizer.exclude_from_weight_decay(
            [v for v in variables if not decays(v, config.decay_all)]
        )
    optimizer.build(list(variables))
    return optimizer
