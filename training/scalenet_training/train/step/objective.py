"""What a training step minimises."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from scalenet_training.train.step.distillation import Distillation
from scalenet_training.train.step.losses import SOFTMAX, Loss


def decays(variable: keras.Variable, decay_all: bool) -> bool:
    """Whether weight decay is for a variable: the kernels alone, unless for all."""
    return decay_all or variable.name == "kernel"


@dataclasses.dataclass(frozen=True)
class Objective:
    """What a training step minimises, and how.

    Attributes:
        global_batch: Examples of a step over all replicas; losses are divided by it.
        loss: The loss of an example.
        weight_decay: L2 penalty of the decayed weights, weight_decay / 2 x |w|^2; 0
            where the optimizer decays them itself.
        decay_all: Whether batch norm weights and biases decay too, not kernels alone.
        gamma_l1: L1 penalty of the SA blocks' batch norm scales, gamma_l1 x
            sum(|gamma|).
        clip_norm: Largest global norm of the gradient of the loss, without that of the
            penalties, as in PyTorch; 0 for no limit.
        accumulate: Parts in which a replica computes its batch, one after the other.
        average_decay: Decay of the moving average of the weights; 0 where the average
            does not move in steps.
        stochastic_depth: Chance that the last residual branch is left out; see
            `StochasticDepth`.
        seed: Decides what is left out.
        distillation: The teacher's part of the loss, if there is one.
    """

    global_batch: int
    loss: Loss = SOFTMAX
    weight_decay: float = 0.0
    decay_all: bool = False
    gamma_l1: float = 0.0
    clip_norm: float = 0.0
    accumulate: int = 1
    average_decay: float = 0.0
    stochastic_depth: float = 0.0
    seed: int = 0
    distillation: Distillation | None = None

    def penalty_gradient(
        self, variable: keras.Variable, is_sa_gamma: bool
    ) -> tf.Tensor | float:
        """Gradient of the penalties with respect to a variable."""
        gradient = 0.0
        if self.weight_decay and decays(variable, self.decay_all):
            gradient += self.weight_decay * variable.value
        if self.gamma_l1 and is_sa_gamma:
            gradient += self.gamma_l1 * tf.sign(variable.value)
        return gradient
