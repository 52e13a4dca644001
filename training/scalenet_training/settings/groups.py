"""Groups of options that several commands have in common."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

from scalenet_training.data.augmentation import AugmentationName
from scalenet_training.data.files.listing import OnDamaged
from scalenet_training.settings.base import SIDE, Bound, OptionGroup
from scalenet_training.settings.inputs import DATASET, STORAGE

# The names in scalenet_tf.preprocessing.STATISTICS, which needs TensorFlow.
NormalizationName = Literal["imagenet", "cifar10", "cifar100", "centered", "none"]
# The names in `tracking.trackers.TRACKERS`, which imports what this does not.
TrackerName = Literal["none", "mlflow", "wandb"]
StrategyName = Literal["auto", "none", "mirrored", "multiworker", "tpu"]

_MAX_DEVICES = 256  # each has threads of its own
_DEVICES = Bound(
    f"must be from 0 to {_MAX_DEVICES}", lambda value: 0 <= value <= _MAX_DEVICES
)


@dataclasses.dataclass(frozen=True)
class DataOptions(OptionGroup):
    """The examples, and what is done to an image."""

    dataset: Annotated[str, DATASET] = "digits"
    """digits, a name of TensorFlow Datasets (cifar10, imagenet2012, ...), a folder with
    a sub-folder for each class, itself or in train/ and validation/, or a manifest: a
    .csv or .tsv table with the columns path, label and, if you like, split."""

    train_split: str = "train"
    """Examples to train on; slices such as 'train[:5000]' or 'train[:90%]' work."""

    eval_split: str | None = None
    """Examples to evaluate on. Default: validation if the dataset has it, else test."""

    on_damaged: OnDamaged = "stop"
    """For a folder or a manifest. stop: a file that is not an image is an error; skip:
    every image is decoded once before the run, and those that cannot be decoded are
    left out and listed."""

    image_size: Annotated[int | None, SIDE] = None
    """Side of the input in pixels. Default: the architecture's native size."""

    eval_resize: Annotated[int | None, SIDE] = None
    """For evaluation, resize the shorter side to this and crop the centre.
    Default: the image size."""

    train_size: Annotated[int | None, SIDE] = None
    """Side of the images in training, where evaluation and what is saved take another
    one. Default: the image size."""

    augment: AugmentationName = "crop"

    normalization: NormalizationName = "centered"
    """Mean and deviation of the pixels, as in scalenet_tf.preprocess_input. none:
    pixels from 0 to 255, for a network that normalises them itself."""


@dataclasses.dataclass(frozen=True)
class StorageOptions(OptionGroup):
    """Where the datasets of TensorFlow Datasets are."""

    resumable: ClassVar[bool] = True

    data_dir: Annotated[str | None, STORAGE] = None
    """Folder of TensorFlow Datasets. Default: ~/tensorflow_datasets."""

    download: bool = False
    """Download and prepare the dataset if it is not there."""


@dataclasses.dataclass(frozen=True)
class DeviceOptions(OptionGroup):
    """Where it computes."""

    resumable: ClassVar[bool] = True

    strategy: StrategyName = "auto"
    """none: one device; mirrored: all GPUs, or all virtual devices, of this machine;
    multiworker: the machines of TF_CONFIG or of a Slurm step; tpu: see --tpu; auto:
    multiworker in a cluster of several workers, tpu with --tpu, mirrored where there is
    more than one device, else none."""

    tpu: str | None = None
    """For --strategy tpu: its name or address; 'local' on a TPU's own machine."""

    virtual_devices: Annotated[int, _DEVICES] = 0
    """Split the CPU into that many logical devices, to try several replicas without
    GPUs."""

    jit: Literal["auto", "on", "off"] = "auto"
    """XLA for each replica's forward and backward pass. auto: on for GPUs, off for
    CPUs, where it is slower."""
