"""One update and one evaluation step, on every replica of a strategy.

Forward pass, loss and gradients of a replica are one function, which XLA compiles as a
whole (`gradients`). What the replicas have to agree on is summed over them once,
outside it (`steps`); then every replica makes the same update (`update`). `averaging`
is for the ends of epochs.
"""

from scalenet_training.networks.logits import logits_of
from scalenet_training.train.step.averaging import EpochAverage, make_statistics_step
from scalenet_training.train.step.distillation import Distillation
from scalenet_training.train.step.loss_scale import LossScale
from scalenet_training.train.step.losses import Loss, cross_entropy
from scalenet_training.train.step.objective import Objective, decays
from scalenet_training.train.step.steps import (
    Step,
    StepReport,
    make_evaluation_step,
    make_train_step,
)
from scalenet_training.train.step.sums import SUMS, means, sums
from scalenet_training.train.step.update import Learner, set_body_trainable

__all__ = [
    "SUMS",
    "Distillation",
    "EpochAverage",
    "Learner",
    "Loss",
    "LossScale",
    "Objective",
    "Step",
    "StepReport",
    "cross_entropy",
    "decays",
    "logits_of",
    "make_evaluation_step",
    "make_statistics_step",
    "make_train_step",
    "means",
    "set_body_trainable",
    "sums",
]
