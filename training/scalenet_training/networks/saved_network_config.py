"""Which saved network, and which data: the options that several commands share.

Imports no TensorFlow.
"""

import dataclasses
from typing import Literal

import tyro

from scalenet_training.data.files.listing import OnDamaged
from scalenet_training.settings import Settings


@dataclasses.dataclass(frozen=True)
class SavedNetworkConfig(Settings):
    """A network that a run has saved, or any .keras file, and its data."""

    run_or_model: tyro.conf.Positional[str]
    """Folder of a run, or a .keras file. A file in a run's folder takes the run's
    settings as defaults."""

    saved: Literal["best", "last"] = "best"
    """Of a run: the model with the lowest validation error, or the last."""

    dataset: str | None = None
    """digits, a name of TensorFlow Datasets, a folder or a manifest. Default: the
    run's."""

    eval_split: str | None = None
    """Examples to evaluate on. Default: the run's, else validation, else test."""

    data_dir: str | None = None
    """Folder of TensorFlow Datasets. Default: the run's."""

    download: bool = False
    """Download and prepare the dataset if it is not there."""

    on_damaged: OnDamaged | None = None
    """Of a folder or a manifest: stop at a file that is no image that can be read, or
    skip it. Default: the run's."""

    normalization: Literal["imagenet", "cifar10", "cifar100", "centered"] | None = None
    """Mean and deviation of the pixels. Default: the run's."""

    image_size: int | None = None
    """Side of the images, for a model that takes any size. Default: the run's."""

    eval_resize: int | None = None
    """Resize the shorter side to this and crop the centre. Default: the run's, else the
    model's input size."""
