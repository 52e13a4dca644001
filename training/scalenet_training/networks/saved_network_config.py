"""Which saved network, and which data: the options that several commands share.

Imports no TensorFlow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Annotated, Literal

import tyro

from scalenet_training.data.files.listing import OnDamaged
from scalenet_training.errors import SettingError
from scalenet_training.settings.base import SIDE, OptionGroup, Settings
from scalenet_training.settings.groups import NormalizationName
from scalenet_training.settings.inputs import DATASET, MODEL, STORAGE


@dataclasses.dataclass(frozen=True)
class NetworkOptions(OptionGroup):
    """The network that a run has saved, or any .keras file."""

    run_or_model: Annotated[
        tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN-OR-MODEL"), MODEL
    ]
    """Folder of a run, a .keras file, or weights that come with the package, as
    cifar10:ScaleNetCifar38. A file in a run's folder takes the run's settings as
    defaults."""

    saved: Literal["best", "last"] = "best"
    """For a run: the model with the lowest validation error, or the last."""


@dataclasses.dataclass(frozen=True)
class ImageOptions(OptionGroup):
    """The images, and what is done to them; by default as in the run."""

    dataset: Annotated[str | None, DATASET] = None
    """digits, a name of TensorFlow Datasets, a folder or a manifest. Default: the
    run's."""

    eval_split: str | None = None
    """Examples to evaluate on. Default: the run's, else validation, else test."""

    data_dir: Annotated[str | None, STORAGE] = None
    """Folder of TensorFlow Datasets. Default: the run's."""

    download: bool = False
    """Download and prepare the dataset if it is not there."""

    on_damaged: OnDamaged | None = None
    """For a folder or a manifest: stop at a file that is not an image that can be read,
    or skip it. Default: the run's."""

    normalization: NormalizationName | None = None
    """Mean and deviation of the pixels. Default: the run's."""

    image_size: Annotated[int | None, SIDE] = None
    """Side of the images, for a model that takes any size. Default: the run's."""

    eval_resize: Annotated[int | None, SIDE] = None
    """Resize the shorter side to this and crop the centre. Default: the run's, else the
    model's input size."""


@dataclasses.dataclass(frozen=True)
class SavedNetworkConfig(ImageOptions, NetworkOptions, Settings):
    """A network that a run has saved, or any .keras file, and its data."""


def check_not_given(settings: Settings, names: Iterable[str], model: str) -> None:
    """Checks that options of networks were left out for a model that is an export.

    Args:
        settings: Of any command.
        names: The fields that a run or a .keras file alone has a use for.
        model: The model, for the message.

    Raises:
        SettingError: One of them was given.
    """
    for name in names:
        value = getattr(settings, name)
        if value != getattr(type(settings), name):  # its default
            raise SettingError(
                f"`{name}` is for Keras models: {model!r} has its own way. "
                f"Received: {value!r}."
            )
