"""Recipes: files of options, as TOML or as the config.json of a run.

Imports no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, get_type_hints

from scalenet_tf.files import read_json
from scalenet_training.errors import SettingError, UsageError, did_you_mean
from scalenet_training.runs.record import RunRecord
from scalenet_training.settings.base import fields_of, resumable_fields
from scalenet_training.settings.inputs import FILE
from scalenet_training.settings.reading import (
    read_toml,
    typed,
    without_hyphens,
)
from scalenet_training.settings.training import TrainConfig

_NOT_OPTIONS = ("recipe",)  # a recipe has one base, its preset


@dataclasses.dataclass(frozen=True)
class About:
    """What a recipe says of itself.

    Attributes:
        source: Where its numbers come from.
        command: The exact command that trains by it.
        expectation: What comes out of it.
    """

    source: str = ""
    command: str = ""
    expectation: str = ""


@dataclasses.dataclass(frozen=True)
class Fit:
    """What of a recipe follows from the images; `recipes.fit` has the rule.

    Attributes:
        share: Most of the training images that a batch has.
        steps: Least updates of a run.
    """

    share: float = 0.1
    steps: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise SettingError.of("share", "must be above 0, at most 1", self.share)
        if self.steps < 0:
            raise SettingError.of("steps", "must be 0 or more", self.steps)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The content of a recipe's file.

    Attributes:
        path: The file.
        options: Field of the settings -> value; those that the file has.
        about: What it says of itself.
        fit: What of it follows from the images, if anything does.
    """

    path: str
    options: Mapping[str, Any]
    about: About = dataclasses.field(default_factory=About)
    fit: Fit | None = None


def read_recipe(path: str) -> Recipe:
    """Reads a recipe: a TOML file, or the config.json of a run.

    Raises:
        UsageError: It cannot be read, or is none; the message names the file and what
            in it is wrong.
    """
    FILE.check("`recipe`", path)
    try:
        if path.endswith(".json"):
            return Recipe(path, _computed(config_of_run(path)))
        return _from_toml(path)
    except (OSError, ValueError) as error:
        # In the words of the file: backticks would become the options of a command.
        reason = str(error).rstrip(".").replace("`", "'")
        raise UsageError(f"`recipe` {path!r}: {reason}.") from error


def config_of_run(path: str) -> TrainConfig:
    """The settings that a run's config.json has.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no run's.
    """
    return RunRecord.from_json(read_json(path)).config


def typed_options(table: Mapping[str, Any], allowed: Any = None) -> dict[str, Any]:
    """Options from a file, checked by themselves.

    Args:
        table: Names of settings -> values.
        allowed: The dataclass whose fields they are. Default: those of a training.

    Raises:
        ValueError: There is no such option, or its value is of another type or out of
            its bounds.
    """
    kind = TrainConfig if allowed is None else allowed
    hints = get_type_hints(kind)
    names = [name for name in fields_of(kind) if name not in _NOT_OPTIONS]
    found = {}
    for name, value in table.items():
        if name not in names:
            raise ValueError(
                f"there is no option {name!r}.{did_you_mean(name, names)} Allowed: "
                f"{', '.join(sorted(names))}"
            )
        try:
            found[name] = typed(value, hints[name])
        except ValueError as error:
            raise ValueError(f"`{name}` {error}") from error
    return found


def _computed(config: TrainConfig) -> dict[str, Any]:
    """What a run computes; not where, how long, and by which preset it came to that."""
    left_out = resumable_fields(TrainConfig)
    return {n: value for n, value in vars(config).items() if n not in left_out}


def _from_toml(path: str) -> Recipe:
    table = without_hyphens(read_toml(path))
    about = _part(About, table.pop("about", {}), "about")
    fit = table.pop("fit", None)
    options = typed_options(table)
    TrainConfig(**options)  # raises where one is out of its bounds
    return Recipe(
        os.fspath(path),
        options,
        About() if about is None else about,
        None if fit is None else _part(Fit, fit, "fit"),
    )


def _part(kind: Any, table: Any, name: str) -> Any:
    """A table inside of a recipe."""
    if not isinstance(table, Mapping):
        raise ValueError(f"'{name}' must be a table. Received: {table!r}")
    try:
        return kind(**typed_options(without_hyphens(table), kind))
    except ValueError as error:
        raise ValueError(f"[{name}]: {error}") from error
