"""The recipes that `--preset` names. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, get_args

from scalenet_training.invocation import as_word
from scalenet_training.recipes.fit import FITTED
from scalenet_training.recipes.recipe import Recipe, read_recipe
from scalenet_training.settings.training import PresetName, TrainConfig

_FOLDER = os.path.join(os.path.dirname(__file__), "shipped")


@dataclasses.dataclass(frozen=True)
class Preset:
    """A recipe that comes with the package.

    Attributes:
        recipe: The content of its file.
        config: The settings.
    """

    recipe: Recipe
    config: TrainConfig

    @property
    def fitted(self) -> frozenset[str]:
        """The settings that follow from the data where they are not given."""
        return frozenset(FITTED if self.recipe.fit is not None else ())

    @property
    def command(self) -> str:
        """The exact command that trains by it."""
        return self.recipe.about.command

    @property
    def expectation(self) -> str:
        """The result to expect."""
        return self.recipe.about.expectation


def _shipped(name: PresetName) -> Preset:
    recipe = read_recipe(os.path.join(_FOLDER, f"{name}.toml"))
    return Preset(recipe, TrainConfig(preset=name, **recipe.options))


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {name: _shipped(name) for name in get_args(PresetName)}
)
# Of the datasets that have presets, the first.
OF_DATASETS: Mapping[str, str] = MappingProxyType(
    {
        str(preset.recipe.options["dataset"]): name
        for name, preset in reversed([*PRESETS.items()])
        if "dataset" in preset.recipe.options
    }
)


def options_of(config: TrainConfig, free: Collection[str] = ()) -> list[str]:
    """The options of `train.py` that give these settings, beside their defaults.

    Args:
        config: The settings.
        free: Fields that are left out, to follow from the data.
    """
    preset = PRESETS[config.preset]
    defaults = preset.config.to_json()
    # What would follow from the data if it were left out, or has to be given.
    always = {*preset.fitted, "dataset"} if preset.fitted else set()
    beside = {
        name: value
        for name, value in config.to_json().items()
        if name not in ("preset", "recipe", *free)
        and (value != defaults[name] or name in always)
    }
    return ["--preset", config.preset, *as_options(beside)]


def as_options(values: Mapping[str, Any]) -> list[str]:
    """Settings as they are typed."""
    options = []
    for name, value in values.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{option}" if value else f"--no-{option}")
        else:
            parts = value if isinstance(value, (list, tuple)) else [value]
            options += [f"--{option}", *(_word(part) for part in parts)]
    return options


def _word(value: Any) -> str:
    return as_word(value) if isinstance(value, str) else str(value)
