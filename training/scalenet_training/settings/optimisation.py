"""How the weights of a run move beyond its recipe's rate and penalties.

Imports no TensorFlow. `TrainConfig` inherits from these groups.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from scalenet_training.errors import SettingError
from scalenet_training.settings.base import (
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    Bound,
    OptionGroup,
)
from scalenet_training.settings.inputs import MODEL

# The names in `train.step.optimizers.OPTIMIZERS`, which needs TensorFlow.
OptimizerName = Literal["sgd", "adamw", "lamb", "muon"]

# What an optimizer has of its own: the settings of the others stay at their defaults.
OWN_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "sgd": ("momentum",),
    "adamw": ("beta_1", "beta_2", "epsilon"),
    "lamb": ("beta_1", "beta_2", "epsilon"),
    "muon": ("momentum", "beta_1", "beta_2", "epsilon"),
}

SHARE = Bound("must be above 0, to 1", lambda value: 0 < value <= 1)

# What does nothing alone -> what it stands with.
_LED = {
    "teacher_share": "teacher",
    "teacher_temperature": "teacher",
    "swa_batches": "swa_start",
}

# What is about the body of the network -> the value that leaves it as it is.
_OF_THE_BODY = {"stochastic_depth": 0.0, "layer_decay": 1.0, "freeze_epochs": 0}


@dataclasses.dataclass(frozen=True)
class OptimiserOptions(OptionGroup):
    """Which rule turns gradients into steps."""

    optimizer: OptimizerName = "sgd"
    """sgd: with momentum, the decay a penalty in the gradient; adamw, lamb, muon: with
    decoupled decay. lamb: for large batches, the decay inside the trust ratio; muon:
    orthogonal steps for the kernels of convolutions, AdamW's for the rest."""

    beta_1: Annotated[float, FRACTION] = 0.9
    """For adamw, lamb and muon's AdamW: decay of the mean of gradients."""

    beta_2: Annotated[float, FRACTION] = 0.999
    """For adamw, lamb and muon's AdamW: decay of the mean of squared gradients."""

    epsilon: Annotated[float, POSITIVE] = 1e-7
    """For adamw, lamb and muon's AdamW: added to the root of the mean of squares."""

    layer_decay: Annotated[float, SHARE] = 1.0
    """Learning rates fall towards the input: that of the classifier times this number
    for the last bottleneck, times its square for the one before, and so on to the
    stem. 1: the same for all."""

    freeze_epochs: Annotated[int, NOT_NEGATIVE] = 0
    """Train the classifier alone for that many epochs, as --freeze does, then all
    layers."""


@dataclasses.dataclass(frozen=True)
class RegularisationOptions(OptionGroup):
    """What makes training harder than inference, beside the images' augmentation."""

    stochastic_depth: Annotated[float, FRACTION] = 0.0
    """Chance that an example skips the last residual branch in training, such as 0.05;
    it falls linearly to the first branch's share. The saved network has all branches.
    0: never."""


@dataclasses.dataclass(frozen=True)
class DistillationOptions(OptionGroup):
    """Another network's predictions as targets, beside the labels."""

    teacher: Annotated[str | None, MODEL] = None
    """A trained network with the same classes: the folder of a run, a .keras file,
    weights that come with the package, or an exported SavedModel. It is shown the
    augmented images."""

    teacher_share: Annotated[float, SHARE] = 0.5
    """The part of the loss that is the divergence from the teacher's probabilities;
    the rest is that of the labels."""

    teacher_temperature: Annotated[float, POSITIVE] = 1.0
    """Divides the logits of both networks in that part."""


@dataclasses.dataclass(frozen=True)
class OutcomeOptions(OptionGroup):
    """What is saved in the end, and when the end is."""

    best: Literal["top1", "top5", "loss"] = "top1"
    """What is lowest in the epoch of best.keras, of the evaluation: the top-1 error,
    the top-5 error or the loss."""

    early_stopping: Annotated[int, NOT_NEGATIVE] = 0
    """End after that many epochs without a new best. A run that has ended so goes on
    with a larger number. 0: never."""

    swa_start: Annotated[float, FRACTION] = 0.0
    """From this fraction of the epochs on, evaluate and save the equal average of the
    weights at the ends of epochs. In place of --ema. 0: never."""

    swa_batches: Annotated[int, NOT_NEGATIVE] = 100
    """Batches of an epoch from which the statistics of the batch norms of that average
    are estimated each time; at most all. 0: they are averaged as the weights are."""


def check_optimisation(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Checks the settings of a run's optimisation against each other.

    Args:
        values: The settings by name.
        defaults: Those that hold where nothing is said.

    Raises:
        SettingError: Two of them exclude each other; both are named.
    """
    _check_own(values, defaults)
    for name, leader in _LED.items():
        if not values[leader] and values[name] != defaults[name]:
            raise SettingError(
                f"`{name}` must stand with `{leader}`. Received: {values[name]!r} "
                "alone."
            )
    for name, neutral in _OF_THE_BODY.items():
        if values["freeze"] and values[name] != neutral:
            raise SettingError(
                f"`{name}` and `freeze` exclude each other: the classifier alone "
                f"trains. Received: {values[name]!r} with `freeze`."
            )
    if values["ema"] and values["swa_start"]:
        raise SettingError(
            "`ema` and `swa_start` exclude each other: one average is saved. Received: "
            f"{values['ema']} and {values['swa_start']}."
        )
    frozen, epochs = values["freeze_epochs"], values["epochs"]
    if frozen and frozen >= epochs:
        raise SettingError(
            "`freeze_epochs` must be less than `epochs`; with `freeze` the classifier "
            f"trains alone to the end. Received: {frozen} of {epochs}."
        )


def _check_own(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    optimizer = values["optimizer"]
    every = dict.fromkeys(name for own in OWN_SETTINGS.values() for name in own)
    for name in every:
        if name in OWN_SETTINGS[optimizer] or values[name] == defaults[name]:
            continue
        having = [kind for kind, own in OWN_SETTINGS.items() if name in own]
        raise SettingError(
            f"`{name}` needs `optimizer` {' or '.join(having)}. Received: "
            f"{values[name]!r} with {optimizer!r}."
        )
