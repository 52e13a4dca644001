"""Settings of a training run. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from scalenet_training.data.augmentation import AugmentationName
from scalenet_training.data.files.listing import OnDamaged, shown
from scalenet_training.data.files.manifest import is_manifest
from scalenet_training.settings import Settings

PresetName = Literal["digits", "cifar10", "cifar100", "imagenet"]
StrategyName = Literal["auto", "none", "mirrored", "multiworker", "tpu"]

# What may differ between a run and its continuation: where and how long it runs, not
# what it computes.
_FREE_FIELDS = frozenset(
    {
        "preset",
        "strategy",
        "tpu",
        "virtual_devices",
        "jit",
        "data_dir",
        "download",
        "max_steps",
        "checkpoint_minutes",
        "checkpoint_steps",
        "checkpoints_kept",
        "workdir",
    }
)


@dataclasses.dataclass(frozen=True)
class TrainConfig(Settings):
    """One training run."""

    preset: PresetName = "digits"
    """Which defaults the other options start from. digits: scikit-learn's digits, runs
    anywhere; cifar10, cifar100, imagenet: the published recipes."""

    model: str = "ScaleNetCifar38"
    """A public name (see scalenet_tf.list_models), an architecture's JSON file, or
    file.json:Name where the file holds several. 'seed:' before any of these: its seed
    network, with all neurons at each scale, to learn an allocation with."""

    weights: str | None = None
    """Weights to start from, a .weights.h5 or .keras file. Its classifier is used where
    the classes are as many, else it starts anew."""

    freeze: bool = False
    """Train the classifier alone: the rest keeps its weights and BN statistics."""

    dataset: str = "digits"
    """digits, a name of TensorFlow Datasets (cifar10, imagenet2012, ...), a folder with
    a sub-folder for each class, itself or in train/ and validation/, or a manifest: a
    .csv or .tsv table with the columns path, label and, if you like, split."""

    train_split: str = "train"
    """Examples to train on; slices such as 'train[:5000]' or 'train[:90%]' work."""

    eval_split: str | None = None
    """Examples to evaluate on. Default: validation if the dataset has it, else test."""

    data_dir: str | None = None
    """Folder of TensorFlow Datasets. Default: ~/tensorflow_datasets."""

    download: bool = False
    """Download and prepare the dataset if it is not there."""

    on_damaged: OnDamaged = "stop"
    """Of a folder or a manifest. stop: a file that is no image is an error; skip: every
    image is decoded once before the run, and what cannot be is left out and listed."""

    image_size: int | None = None
    """Side of the input in pixels. Default: the architecture's native size."""

    eval_resize: int | None = None
    """For evaluation, resize the shorter side to this and crop the centre.
    Default: the image size."""

    augment: AugmentationName = "crop"

    normalization: Literal["imagenet", "cifar10", "cifar100", "centered"] = "centered"
    """Mean and deviation of the pixels, as in scalenet_tf.preprocess_input."""

    strategy: StrategyName = "auto"
    """none: one device; mirrored: all GPUs, or all virtual devices, of this machine;
    multiworker: the machines of TF_CONFIG or of a Slurm step; tpu: see --tpu; auto:
    multiworker in a cluster of several workers, tpu with --tpu, mirrored where there is
    more than one device, else none."""

    tpu: str | None = None
    """For --strategy tpu: its name or address; 'local' on a TPU's own machine."""

    virtual_devices: int = 0
    """Split the CPU in that many logical devices, to try several replicas without
    GPUs."""

    jit: Literal["auto", "on", "off"] = "auto"
    """XLA for each replica's forward and backward pass. auto: on for GPUs, off for
    CPUs, where it is slower."""

    sync_batch_norm: bool = False
    """Batch norm over the global batch, not over each replica's part. Not with XLA."""

    mixed_precision: Literal["off", "bfloat16", "float16"] = "off"
    """Compute in 16 bits, keep weights in float32. float16 with a dynamic loss
    scale."""

    sharding: Literal["data", "file"] = "data"
    """What a worker reads. data: everything, and it keeps its part of each global
    batch, so that the order does not depend on the number of workers; file: its own
    contiguous part of --train-split, which changes the order of examples."""

    batch_size: int = 32
    """Global batch: summed over all replicas."""

    accumulate: int = 1
    """Parts in which each replica computes its batch, one after the other, to save
    memory. Batch norm sees one part at a time."""

    epochs: int = 8
    """Epochs in all. A run that has ended goes on with a larger number."""

    max_steps: int | None = None
    """Stop after this many steps in all, to try things; the schedule stays as it is."""

    learning_rate: float = 0.02
    """Highest learning rate, after the warm-up."""

    schedule: Literal["cosine", "steps"] = "cosine"
    """cosine: to zero over the run; steps: a tenth at each milestone."""

    milestones: tuple[float, ...] = (0.5, 0.75)
    """For --schedule steps: when to divide by ten, as fractions of the run."""

    warmup_epochs: float = 1.0
    """Epochs over which the learning rate rises linearly from zero."""

    momentum: float = 0.9
    """Momentum of SGD."""

    weight_decay: float = 1e-4
    """L2 penalty: weight_decay / 2 times the sum of the squared kernels."""

    decay_all: bool = False
    """Also decay batch norms' scales and offsets and biases, as PyTorch's SGD does."""

    gamma_l1: float = 0.0
    """L1 penalty of the batch norm scales in SA blocks, gamma_l1 times the sum of
    |gamma|: spreads the importance of neurons, for learning an allocation."""

    clip_norm: float = 0.0
    """Scale the gradient of the loss down to this global norm, summed over all
    replicas. 0: never."""

    label_smoothing: float = 0.0
    """Part of the target spread evenly over all classes."""

    ema: float = 0.0
    """Decay of an exponential moving average of all weights, such as 0.999, which is
    what is evaluated and saved. 0: none."""

    seed: int = 0
    """Seed of the initial weights, the order of examples and the augmentation."""

    checkpoint_minutes: float = 10.0
    """Save a checkpoint that often; one is also saved at the end of each epoch."""

    checkpoint_steps: int = 0
    """Save a checkpoint also each time this many steps were made. 0: by time alone."""

    checkpoints_kept: int = 3
    """How many checkpoints stay; the newest that can be read is resumed from."""

    workdir: str | None = None
    """Folder of the run. Default: runs/<dataset>-<model>. The same command run again
    resumes the run that is there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self)

    @property
    def run_folder(self) -> str:
        """`workdir`, or its default."""
        if self.workdir is not None:
            return self.workdir
        dataset = shown(os.path.basename(os.path.normpath(self.dataset)))
        if is_manifest(dataset):
            dataset = os.path.splitext(dataset)[0]
        model = self.model.removeprefix("seed:")
        model = os.path.splitext(os.path.basename(model))[0]
        suffix = "Seed" if self.model.startswith("seed:") else ""
        return os.path.join("runs", f"{dataset}-{model}{suffix}")

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        values = dataclasses.asdict(self)
        return {**values, "milestones": list(self.milestones)}

    def differences(self, recorded: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Fields in which this is another run than the recorded one.

        Returns:
            Field -> (recorded, now). More epochs are no difference, nor is where or
            on how many devices the run computes.
        """
        now = self.to_json()
        # A run from before a field existed had that field's default.
        before = {**TrainConfig().to_json(), **recorded}
        different = {
            name: (before[name], value)
            for name, value in now.items()
            if name not in _FREE_FIELDS and before[name] != value
        }
        if self.epochs > recorded.get("epochs", 0):
            different.pop("epochs", None)
        return different


def identity(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Of a run's recorded settings, those that say what it computes, not where."""
    return {name: recorded[name] for name in recorded if name not in _FREE_FIELDS}


def _check(config: TrainConfig) -> None:
    hints = get_type_hints(TrainConfig)
    positive = (
        "batch_size",
        "accumulate",
        "epochs",
        "learning_rate",
        "checkpoint_minutes",
        "checkpoints_kept",
    )
    not_negative = (
        "virtual_devices",
        "warmup_epochs",
        "weight_decay",
        "gamma_l1",
        "clip_norm",
        "checkpoint_steps",
        "seed",
    )
    below_one = ("momentum", "label_smoothing", "ema")
    for name in positive:
        _require(config, name, getattr(config, name) > 0, "more than 0")
    for name in not_negative:
        _require(config, name, getattr(config, name) >= 0, "0 or more")
    for name in below_one:
        _require(config, name, 0 <= getattr(config, name) < 1, "from 0 to below 1")
    for field in dataclasses.fields(config):
        allowed = get_args(hints[field.name])
        if get_origin(hints[field.name]) is Literal:
            value = getattr(config, field.name)
            _require(config, field.name, value in allowed, f"one of {allowed}")
    for name in ("max_steps", "image_size", "eval_resize"):
        value = getattr(config, name)
        _require(config, name, value is None or value > 0, "more than 0")
    ascending = list(config.milestones) == sorted(config.milestones)
    inside = all(0 < point < 1 for point in config.milestones)
    _require(config, "milestones", ascending and inside, "ascending, between 0 and 1")


def _require(config: TrainConfig, name: str, holds: bool, allowed: str) -> None:
    if not holds:
        raise ValueError(
            f"--{name.replace('_', '-')} must be {allowed}. "
            f"Received: {getattr(config, name)!r}."
        )
