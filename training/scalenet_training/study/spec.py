"""What a study compares, read from its TOML file."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

from scalenet_training.networks.targets import parse_target
from scalenet_training.recipes.choice import choices
from scalenet_training.recipes.presets import PRESETS
from scalenet_training.recipes.recipe import typed_options
from scalenet_training.settings.base import SEED_NUMBER, fields_of
from scalenet_training.settings.reading import read_toml
from scalenet_training.settings.training import TrainConfig

Kind = Literal["learned", "even", "published", "random", "twin", "seed"]
Importance = Literal["gamma", "gamma-by-scale"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
# What a study decides for each of its runs, or the machine that it runs on.
_NOT_OPTIONS = (
    *("seed", "workdir", "model", "data_dir", "strategy", "virtual_devices"),
    "recipe",  # its options would hide behind a name
    *("max_steps", "early_stopping"),  # a run has ended after its epochs
)


@dataclasses.dataclass(frozen=True)
class AllocationSpec:
    """An allocation that a study makes before the runs that train it.

    Attributes:
        name: In the study.
        kind: `"learned"`: by the importance in a seed network; `"even"`: equal numbers
            at each scale; `"published"`: in the proportions of the base; `"random"`:
            by an importance drawn at random with the run's seed; `"twin"`: all at
            scale 1; `"seed"`: no choice, the seed network itself.
        base: The network whose neurons are allocated, as `--model` takes it.
        target_macs: As `--target-macs` of `allocate`; relative to the twin of `base`.
        width: Factor of the base's stage widths, for targets below what whole
            widths can reach.
        seed_arm: For `"learned"`: the arm of the seed network.
        importance: For `"learned"`: `"gamma"`, |gamma| as published, or
            `"gamma-by-scale"`, divided by its mean over the block's scale.
    """

    name: str
    kind: Kind
    base: str = "ScaleNetCifar38"
    target_macs: str = "twin"
    width: float = 1.0
    seed_arm: str | None = None
    importance: Importance = "gamma"

    def __post_init__(self) -> None:
        for field, allowed in (("kind", Kind), ("importance", Importance)):
            value = getattr(self, field)
            if value not in get_args(allowed):
                raise ValueError(
                    f"`{field}` must be one of {', '.join(get_args(allowed))}. "
                    f"Received: {value!r}."
                )
        if (self.kind == "learned") != (self.seed_arm is not None):
            raise ValueError(
                "`seed_arm` must be given for `kind` 'learned', and for no other. "
                f"Received: kind={self.kind!r}, seed_arm={self.seed_arm!r}."
            )
        if not 0 < self.width <= 1:
            raise ValueError(
                f"`width` must be above 0, at most 1. Received: {self.width!r}."
            )
        parse_target(self.target_macs, "`target_macs`")


@dataclasses.dataclass(frozen=True)
class Arm:
    """One of the things that a study compares.

    Attributes:
        name: In folders and tables.
        config: The settings of its runs, without what hangs on the run.
        allocation: The allocation that is trained; `None`: the model of the settings.
        free: Fields that the study does not give and its preset leaves to follow from
            the data, when a run begins.
    """

    name: str
    config: TrainConfig
    allocation: AllocationSpec | None
    free: frozenset[str] = frozenset()

    @property
    def epochs(self) -> int | None:
        """Epochs of its runs; `None` where they follow from the data."""
        return None if "epochs" in self.free else self.config.epochs


@dataclasses.dataclass(frozen=True)
class StudyRun:
    """One training run of a study.

    Attributes:
        arm: What it belongs to.
        seed: Of its weights, order and augmentation.
        folder: Where it trains.
    """

    arm: Arm
    seed: int
    folder: str

    @property
    def name(self) -> str:
        """The arm and the seed."""
        return f"{self.arm.name}-{self.seed}"

    def settings(self, model: str, data_dir: str | None) -> TrainConfig:
        """The settings of the run, for a model that is known by now."""
        return dataclasses.replace(
            self.arm.config,
            model=model,
            seed=self.seed,
            data_dir=data_dir,
            workdir=self.folder,
        )


@dataclasses.dataclass(frozen=True)
class Study:
    """A study.

    Attributes:
        title: Of its report.
        seeds: One run of each arm for each of them.
        compare_with: Name of the arm that the others are compared with.
        arms: What is compared.
    """

    title: str
    seeds: tuple[int, ...]
    compare_with: str
    arms: tuple[Arm, ...]

    @property
    def size(self) -> int:
        """How many runs it has."""
        return len(self.arms) * len(self.seeds)

    @property
    def networks(self) -> list[str]:
        """The networks that are trained or allocated, as `--model` takes them."""
        return [
            arm.config.model if arm.allocation is None else arm.allocation.base
            for arm in self.arms
        ]

    def runs(self, folder: str) -> Iterator[StudyRun]:
        """All runs: every arm with the first seed, then with the second, and so on.

        Args:
            folder: Holds the folders of the runs.
        """
        for seed in self.seeds:
            for arm in self.arms:
                yield StudyRun(arm, seed, os.path.join(folder, f"{arm.name}-{seed}"))

    def seed_run(self, run: StudyRun, folder: str) -> StudyRun:
        """The run of the seed network that a run's allocation is learned from."""
        spec = run.arm.allocation
        arm = next(a for a in self.arms if spec and a.name == spec.seed_arm)
        return StudyRun(arm, run.seed, os.path.join(folder, f"{arm.name}-{run.seed}"))


def read_study(path: str | os.PathLike[str]) -> Study:
    """Reads the TOML file of a study.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no study; the message names the file and the key.
    """
    try:
        return _study(read_toml(path))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{os.fspath(path)!r}: {error}") from error


def _study(content: Mapping[str, Any]) -> Study:
    _check_keys(
        "the study",
        content,
        required=("title", "seeds", "compare_with", "arms"),
        optional=("options", "allocations"),
    )
    seeds = content["seeds"]
    if (
        not isinstance(seeds, list)
        or not seeds
        or not all(isinstance(seed, int) and SEED_NUMBER.holds(seed) for seed in seeds)
        or len({*seeds}) < len(seeds)
    ):
        raise ValueError(
            "`seeds` must be different whole numbers from 0 to 4294967295. "
            f"Received: {seeds!r}."
        )
    allocations = {
        name: _allocation(name, table)
        for name, table in content.get("allocations", {}).items()
    }
    common = content.get("options", {})
    arms = tuple(
        _arm(name, table, common, allocations)
        for name, table in content["arms"].items()
    )
    names = [arm.name for arm in arms]
    wanted = [("compare_with", content["compare_with"])]
    wanted += [
        (f"allocations.{arm.allocation.name}.seed_arm", arm.allocation.seed_arm)
        for arm in arms
        if arm.allocation is not None and arm.allocation.seed_arm is not None
    ]
    for key, name in wanted:
        if name not in names:
            raise ValueError(
                f"`{key}` must be one of the arms, {', '.join(names)}. "
                f"Received: {name!r}."
            )
    return Study(content["title"], tuple(seeds), content["compare_with"], arms)


def _allocation(name: str, table: Mapping[str, Any]) -> AllocationSpec:
    fields = fields_of(AllocationSpec)[1:]
    where = f"`allocations.{name}`"
    _check_name("allocations", name)
    _check_keys(where, table, required=("kind",), optional=fields)
    try:
        return AllocationSpec(name, **table)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _arm(
    name: str,
    table: Mapping[str, Any],
    common: Mapping[str, Any],
    allocations: Mapping[str, AllocationSpec],
) -> Arm:
    where = f"`arms.{name}`"
    _check_name("arms", name)
    options = {**common, **table}
    allocation = options.pop("allocation", None)
    model = options.pop("model", None)
    if (allocation is None) == (model is None):
        raise ValueError(f"{where} must have either `model` or `allocation`.")
    if allocation is not None and allocation not in allocations:
        raise ValueError(
            f"{where}: `allocation` must be one of `allocations`, "
            f"{', '.join(allocations) or 'of which there are none'}. "
            f"Received: {allocation!r}."
        )
    allowed = [name for name in fields_of(TrainConfig) if name not in _NOT_OPTIONS]
    _check_keys(f"{where} with `options`", options, optional=allowed)
    preset = next(choices(options, runs=False)).preset  # as `train` takes it
    if preset not in PRESETS:
        raise ValueError(
            f"{where}: `preset` must be one of {', '.join(PRESETS)}. "
            f"Received: {preset!r}."
        )
    default, fitted = PRESETS[preset].config, PRESETS[preset].fitted
    if fitted and "dataset" not in options:
        raise ValueError(f"{where}: `dataset` must be given for `preset` {preset}.")
    try:
        values = typed_options({**options, "model": model or default.model})
        config = dataclasses.replace(default, **values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error
    return Arm(name, config, allocations.get(allocation), fitted - {*values})


def _check_name(table: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"names of `{table}` must be letters, digits and _ . + -, the first a "
            f"letter or digit. Received: {name!r}."
        )


def _check_keys(
    where: str,
    table: Any,
    *,
    required: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> None:
    if not isinstance(table, Mapping):
        raise ValueError(f"{where} must be a table. Received: {table!r}.")
    for key in required:
        if key not in table:
            raise ValueError(f"{where} must have {key!r}.")
    unknown = [key for key in table if key not in {*required, *optional}]
    if unknown:
        raise ValueError(
            f"{where} must not have {unknown[0]!r}. Allowed: "
            f"{', '.join(sorted({*required, *optional}))}."
        )
