"""Settings of a search for channel budgets. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Literal

from scalenet_training.data.listing import OnDamaged
from scalenet_training.networks.targets import parse_target
from scalenet_training.settings import Settings
from scalenet_training.train.config import TrainConfig

# What may differ when a search goes on: where and how long it runs, not what it
# searches.
_FREE_FIELDS = frozenset(
    {
        "max_trials",
        "trials_per_process",
        "data_dir",
        "download",
        "verbose",
        "workdir",
    }
)

# Settings that are handed on to train.py as they are.
_SHARED_FIELDS = (
    "dataset",
    "train_split",
    "eval_split",
    "data_dir",
    "on_damaged",
    "image_size",
    "eval_resize",
    "augment",
    "normalization",
    "batch_size",
    "seed",
)


@dataclasses.dataclass(frozen=True)
class TuneConfig(Settings):
    """One search, or one for each of several budgets."""

    tuner: Literal["random", "hyperband", "bayesian"] = "random"
    """How KerasTuner chooses trials. hyperband gives most trials few epochs and goes on
    with the best; bayesian fits a Gaussian process to the trials that ended."""

    model: str = "ScaleNetCifar38"
    """Base of all trials, which have its stem, scales and stage widths: a public name,
    an architecture's JSON file, or file.json:Name."""

    target_macs: str | None = None
    """What every trial may cost, for an image of the native size: twin (as much as the
    base's ResNet twin), a ratio of that such as 0.75x, or a number of MACs such as
    57e6. Default: twin."""

    budgets: tuple[str, ...] = ()
    """Several such targets: a search for each, one after the other, which finds a
    family of networks."""

    max_trials: int = 20
    """Trials of a search. A search that has ended goes on with a larger number."""

    epochs: int = 5
    """Epochs of a trial; with hyperband, the most."""

    depth: tuple[int, int] | None = None
    """Search the number of bottlenecks between these two. Default: the base's."""

    learning_rate: tuple[float, float] = (0.01, 0.2)
    """Range of the learning rate, constant in a trial. Twice the same number: not
    searched; so for the next two."""

    weight_decay: tuple[float, float] = (1e-5, 1e-3)
    """Range of the L2 penalty, as in train.py."""

    label_smoothing: tuple[float, float] = (0.0, 0.2)
    """Range of the part of the target spread evenly over all classes."""

    dataset: str = "digits"
    """digits, a name of TensorFlow Datasets, a folder of images or a manifest, as in
    train.py."""

    train_split: str = "train"
    """Examples to train on; slices such as 'train[:5000]' work."""

    eval_split: str | None = None
    """Examples that rank the trials. Default: validation if the dataset has it, else
    test."""

    data_dir: str | None = None
    """Folder of TensorFlow Datasets. Default: ~/tensorflow_datasets."""

    download: bool = False
    """Download and prepare the dataset if it is not there."""

    on_damaged: OnDamaged = "stop"
    """Whether a damaged image is an error or left out, as in train.py."""

    image_size: int | None = None
    """Side of the input in pixels. Default: the architecture's native size."""

    eval_resize: int | None = None
    """For evaluation, resize the shorter side to this and crop the centre.
    Default: the image size."""

    augment: Literal["none", "crop", "crop-flip", "resized-crop"] = "crop"
    """As in train.py."""

    normalization: Literal["imagenet", "cifar10", "cifar100", "centered"] = "centered"
    """Mean and deviation of the pixels, as in train.py."""

    batch_size: int = 32
    """Examples of a step."""

    seed: int = 0
    """Seed of the search, and of every trial's weights, order and augmentation."""

    trials_per_process: int = 10
    """Train in a fresh process after that many trials: TensorFlow keeps some memory of
    every network that was trained."""

    verbose: bool = False
    """Show the epochs of every trial. Default: its train.log has them."""

    workdir: str | None = None
    """Folder of the search. Default: runs/tune-<dataset>-<model>. The same command run
    again goes on with the search that is there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self)

    @property
    def search_folder(self) -> str:
        """`workdir`, or its default."""
        if self.workdir is not None:
            return self.workdir
        runs, name = os.path.split(self.train_config().run_folder)
        return f"{runs}/tune-{name}"

    @property
    def targets(self) -> tuple[str, ...]:
        """The budgets, as they were written."""
        return self.budgets or (self.target_macs or "twin",)

    def train_config(self, **trial: Any) -> TrainConfig:
        """The settings of a trial's training.

        Args:
            **trial: Those in which trials differ; without any, the base's.
        """
        shared = {name: getattr(self, name) for name in _SHARED_FIELDS}
        settings = {"model": self.model, **shared, **trial}
        return TrainConfig(
            download=self.download,
            schedule="steps",
            milestones=(),  # a constant learning rate
            warmup_epochs=0.0,
            checkpoints_kept=1,
            **settings,
        )

    def data_options(self) -> list[str]:
        """The options of train.py for the same data; those left out are its own."""
        defaults = TrainConfig()
        return [
            text
            for name in _SHARED_FIELDS
            if name == "dataset" or getattr(self, name) != getattr(defaults, name)
            for text in (f"--{name.replace('_', '-')}", str(getattr(self, name)))
        ]

    def space(self) -> dict[str, Any]:
        """What makes a search this search, as plain JSON values."""
        values = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
            if name not in _FREE_FIELDS | {"target_macs", "budgets"}
        }
        return {**values, "targets": list(self.targets)}


def _check(config: TuneConfig) -> None:
    for name in ("max_trials", "epochs", "trials_per_process"):
        value = getattr(config, name)
        _require(config, name, value > 0, "more than 0")
    for name, lowest, below, limits in (
        ("learning_rate", 1e-12, float("inf"), "above 0"),
        ("weight_decay", 0.0, float("inf"), "from 0"),
        ("label_smoothing", 0.0, 1.0, "from 0 and below 1"),
    ):
        low, high = getattr(config, name)
        holds = lowest <= low <= high < below
        _require(config, name, holds, f"two ascending numbers, {limits}")
    if config.budgets and config.target_macs is not None:
        raise ValueError(
            "--budgets and --target-macs exclude each other. Received: "
            f"{' '.join(config.budgets)} and {config.target_macs}."
        )
    parsed = [parse_target(text, "--budgets") for text in config.budgets]
    if len(set(parsed)) < len(parsed):
        raise ValueError(
            "--budgets must be different from each other. Received: "
            f"{' '.join(config.budgets)}."
        )
    if config.target_macs is not None:
        parse_target(config.target_macs)
    config.train_config()  # whose own checks name the options they share


def _require(config: TuneConfig, name: str, holds: bool, allowed: str) -> None:
    if not holds:
        raise ValueError(
            f"--{name.replace('_', '-')} must be {allowed}. "
            f"Received: {getattr(config, name)!r}."
        )
