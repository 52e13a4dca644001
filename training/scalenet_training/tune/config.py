"""Settings of a search for channel budgets. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from scalenet_training.errors import SettingError
from scalenet_training.networks.targets import parse_target
from scalenet_training.settings.base import (
    POSITIVE,
    SEED_NUMBER,
    Bound,
    OptionGroup,
    Settings,
    fields_of,
    resumable_fields,
)
from scalenet_training.settings.groups import DataOptions, StorageOptions
from scalenet_training.settings.inputs import NETWORK
from scalenet_training.settings.training import TrainConfig


def _range(rule: str, lowest: float, below: float = math.inf) -> Bound:
    return Bound(
        f"must be two ascending numbers, {rule}",
        lambda pair: lowest <= pair[0] <= pair[1] < below,
    )


@dataclasses.dataclass(frozen=True)
class TunerOptions(OptionGroup):
    """Which trials, and how many."""

    tuner: Literal["random", "hyperband", "bayesian"] = "random"
    """How KerasTuner chooses trials. hyperband gives most trials few epochs and goes on
    with the best; bayesian fits a Gaussian process to the trials that ended."""

    epochs: Annotated[int, POSITIVE] = 5
    """Epochs of a trial; with hyperband, the most."""

    batch_size: Annotated[int, POSITIVE] = 32
    """Examples of a step."""

    seed: Annotated[int, SEED_NUMBER] = 0
    """Seed of the search, and of every trial's weights, order and augmentation."""


@dataclasses.dataclass(frozen=True)
class SpaceOptions(OptionGroup):
    """What is searched."""

    model: Annotated[str, NETWORK] = "ScaleNetCifar38"
    """Base of all trials, which have its stem, scales and stage widths: a public name,
    an architecture's JSON file, or file.json:Name."""

    target_macs: str | None = None
    """What every trial may cost, for an image of the native size: twin (as much as the
    base's ResNet twin), a ratio of that such as 0.75x, or a number of MACs such as
    57e6. Default: twin."""

    budgets: tuple[str, ...] = ()
    """Several such targets: a search for each, one after the other, which finds a
    family of networks."""

    depth: tuple[int, int] | None = None
    """Search the number of bottlenecks between these two. Default: the base's."""

    learning_rate: Annotated[tuple[float, float], _range("above 0", 1e-12)] = (
        0.01,
        0.2,
    )
    """Range of the learning rate, constant in a trial. Twice the same number: not
    searched; so for the next two."""

    weight_decay: Annotated[tuple[float, float], _range("from 0", 0.0)] = (1e-5, 1e-3)
    """Range of the L2 penalty, as in train.py."""

    label_smoothing: Annotated[
        tuple[float, float], _range("from 0 and below 1", 0.0, 1.0)
    ] = (0.0, 0.2)
    """Range of the part of the target spread evenly over all classes."""


@dataclasses.dataclass(frozen=True)
class SearchOptions(OptionGroup):
    """How long and where."""

    resumable: ClassVar[bool] = True

    max_trials: Annotated[int, POSITIVE] = 20
    """Trials of a search. A search that has ended goes on with a larger number."""

    trials_per_process: Annotated[int, POSITIVE] = 10
    """Train in a fresh process after that many trials: TensorFlow keeps some memory of
    every network that was trained."""

    verbose: bool = False
    """Show the epochs of every trial. Default: its train.log has them."""

    workdir: str | None = None
    """Folder of the search. Default: runs/tune-<dataset>-<model>. The same command run
    again goes on with the search that is there."""


# What a trial's training takes as it is.
_SHARED = (*fields_of(DataOptions), *fields_of(StorageOptions), "batch_size", "seed")


# Python takes the fields of the last base first.
@dataclasses.dataclass(frozen=True)
class TuneConfig(
    SearchOptions, StorageOptions, DataOptions, SpaceOptions, TunerOptions, Settings
):
    """One search, or one for each of several budgets."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budgets and self.target_macs is not None:
            raise SettingError(
                "`budgets` and `target_macs` exclude each other. Received: "
                f"{' '.join(self.budgets)} and {self.target_macs}."
            )
        parsed = [parse_target(text, "`budgets`") for text in self.budgets]
        if len(set(parsed)) < len(parsed):
            raise SettingError(
                "`budgets` must be different from each other. Received: "
                f"{' '.join(self.budgets)}."
            )
        parse_target(self.target_macs or "twin")

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
        shared = {name: getattr(self, name) for name in _SHARED}
        return TrainConfig(
            schedule="steps",
            milestones=(),  # a constant learning rate
            warmup_epochs=0.0,
            checkpoints_kept=1,
            **{"model": self.model, **shared, **trial},
        )

    def longer(self, model: str, trial: Mapping[str, Any]) -> TrainConfig:
        """The settings of a trial's network for a whole training: with a schedule.

        Args:
            model: The network.
            trial: The settings in which trials differ.
        """
        usual = TrainConfig()
        names = ("schedule", "milestones", "warmup_epochs", "checkpoints_kept")
        whole = {name: getattr(usual, name) for name in (*names, "epochs", "download")}
        trained = self.train_config(**{**trial, "model": model})
        return dataclasses.replace(trained, **whole)

    def space(self) -> dict[str, Any]:
        """What makes a search this search, as plain JSON values."""
        free = resumable_fields(TuneConfig) | {"target_macs", "budgets"}
        values = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(self).items()
            if name not in free
        }
        return {**values, "targets": list(self.targets)}
