"""How training examples are drawn, changed and mixed, and what their loss is."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from scalenet_training.data.pixels.policies import STRONGEST, PolicyName
from scalenet_training.errors import SettingError
from scalenet_training.settings.base import (
    FRACTION,
    NOT_NEGATIVE,
    PART,
    POSITIVE,
    Bound,
    OptionGroup,
)

_MAGNITUDE = Bound(
    f"must be from 0 to {STRONGEST:g}", lambda value: 0 <= value <= STRONGEST
)
_MOST_OPERATIONS = 14  # as many as there are to choose from
_OPERATIONS = Bound(
    f"must be from 1 to {_MOST_OPERATIONS}",
    lambda value: 1 <= value <= _MOST_OPERATIONS,
)


@dataclasses.dataclass(frozen=True)
class AugmentationOptions(OptionGroup):
    """How training examples are drawn, changed and mixed, beside --augment."""

    policy: PolicyName = "none"

    policy_operations: Annotated[int, _OPERATIONS] = 2
    """For --policy randaugment: operations, one after the other."""

    policy_magnitude: Annotated[float, _MAGNITUDE] = 9.0
    """For --policy randaugment: strength of the operations, from 0 to 10."""

    policy_deviation: Annotated[float, NOT_NEGATIVE] = 0.0
    """For --policy randaugment: standard deviation of the strength, drawn for each
    operation."""

    policy_probability: Annotated[float, PART] = 1.0
    """For a policy: how likely each chosen operation is applied."""

    color_jitter: Annotated[float, PART] = 0.0
    """Brightness, contrast and colour, each by a random factor from 1 less this to 1
    plus this."""

    random_erasing: Annotated[float, PART] = 0.0
    """Part of the images in which a random rectangle, 2 to 40 % of the area, is filled
    with noise."""

    mixup: Annotated[float, NOT_NEGATIVE] = 0.0
    """Mix each image and its label with another one's of the batch, by a share from
    Beta(mixup, mixup). 0: never."""

    cutmix: Annotated[float, NOT_NEGATIVE] = 0.0
    """Put a rectangle of another image of the batch into each image, and mix their
    labels by area, 1 less a share from Beta(cutmix, cutmix). 0: never."""

    switch_probability: Annotated[float, PART] = 0.5
    """With --mixup and --cutmix: part of the batches that are mixed by cutmix."""

    repeats: Annotated[int, POSITIVE] = 1
    """Copies of an example in an epoch, each augmented by itself. An epoch has as many
    steps as without, of fewer examples."""

    balance: Literal["none", "weights", "sampling"] = "none"
    """For classes of unequal size. weights: of the loss, inversely to the size,
    with a mean of 1 over the examples; sampling: an epoch has equally many examples of
    each class, and those of small classes several times."""


@dataclasses.dataclass(frozen=True)
class LossOptions(OptionGroup):
    """What is minimised in training; evaluation gives the loss of the softmax."""

    loss: Literal["softmax", "binary"] = "softmax"
    """Cross-entropy of the softmax, or the mean over the classes of that of each class'
    sigmoid."""

    loss_threshold: Annotated[float | None, FRACTION] = None
    """For --loss binary: targets above this, such as the shares of mixed labels, become
    1, and the others 0. Default: as they are."""

    def check_together(self) -> None:
        """Checks that the loss has a use for the threshold."""
        if self.loss_threshold is not None and self.loss != "binary":
            raise SettingError(
                "`loss_threshold` is for `loss` binary, where several classes can be "
                f"right. Received: loss_threshold={self.loss_threshold}, "
                f"loss={self.loss!r}."
            )
