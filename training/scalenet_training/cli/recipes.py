"""The options of a training, over those of a recipe, of the data and of a preset."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any, Generic, TypeVar

from scalenet_training.cli.options import parse, with_flags
from scalenet_training.errors import UsageError
from scalenet_training.recipes.choice import Choice, Decided, choices
from scalenet_training.recipes.presets import PRESETS
from scalenet_training.recipes.recipe import Recipe, read_recipe
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.settings.base import Settings, fields_of
from scalenet_training.settings.training import TrainConfig

T = TypeVar("T", bound=Settings)

# The options that decide about the defaults of the others.
_DECIDING = ("preset", "recipe", "dataset", "data_dir", "weights")


@dataclasses.dataclass(frozen=True)
class TrainingCommand(Generic[T]):
    """A command that trains.

    Attributes:
        kind: Its settings.
        run_folder: The folder of the run that settings begin, or go on with.
        inside: The field of `kind` that has the settings of the training; None where
            `kind` is these settings.
    """

    kind: type[T]
    run_folder: Callable[[T], str]
    inside: str | None = None

    def around(self, config: TrainConfig, settings: Any = None) -> Any:
        """The settings of the command for a training, the others as in `settings`.

        Without `settings`, they have their defaults.
        """
        if self.inside is None:
            return config
        if settings is None:
            return self.kind(**{self.inside: config})
        return dataclasses.replace(settings, **{self.inside: config})

    def needless(self, settings: T) -> Collection[str]:
        """Fields whose files a run does not need that goes on from a checkpoint."""
        has_state = RunFolder(self.run_folder(settings)).checkpoint_numbers()
        return ("weights",) if has_state else ()

    def training(self, settings: Any) -> TrainConfig:
        """The settings of the training."""
        return settings if self.inside is None else getattr(settings, self.inside)


def parse_training(
    command: TrainingCommand[T],
    description: str | None,
    arguments: Sequence[str],
    program: str,
) -> tuple[T, str]:
    """As `parse`, for a training: a recipe, the data and a preset give the defaults.

    Args:
        command: The command.
        description: What it does, for the help.
        arguments: The words of the command line after the command.
        program: How the command is called in its help.

    Returns:
        The settings, and the lines that say where they come from.

    Raises:
        UsageError: A value is not allowed, the recipe is none, or the data cannot be
            listed.
    """
    words = _words(arguments)
    recipe = read_recipe(words["recipe"]) if words.get("recipe") else None
    options = recipe.options if recipe else {}
    typed = _typed(arguments)
    free = {*fields_of(TrainConfig)} - typed - {*options}
    described = f"{description}\n\n{_presets()}"
    first: tuple[T, Decided] | None = None
    for choice in choices({**options, **words}, runs=recipe is None):
        default = command.around(_defaults(choice, recipe))
        try:
            settings = parse(
                command.kind,
                described,
                arguments,
                program,
                default,
                needless=command.needless,
            )
        except UsageError as error:
            raise _of_recipe(error, recipe, typed) from error
        decided = Decided(command.training(settings), choice, free, recipe).fit()
        settings = command.around(decided.config, settings)
        before = decided.as_in(command.run_folder(settings))
        if before is not None:
            first = command.around(before.config, settings), before
            break
        first = first or (settings, decided)
    assert first is not None  # there always is a choice
    return first[0], with_flags("\n".join(first[1].lines()), TrainConfig)


def _words(arguments: Sequence[str]) -> dict[str, str]:
    """The options that decide about the others, those that are there."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in _DECIDING:
        names = {f"--{name}", f"--{name.replace('_', '-')}"}
        # A value that is missing is left for tyro, which says so.
        finder.add_argument(*sorted(names), dest=name, nargs="?")
    found = vars(finder.parse_known_args(arguments)[0])
    return {name: value for name, value in found.items() if value is not None}


def _typed(arguments: Sequence[str]) -> set[str]:
    """The settings that the command line gives."""
    words = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    names = {word.removeprefix("--").replace("-", "_") for word in words}
    return names | {name.removeprefix("no_") for name in names}


def _defaults(choice: Choice, recipe: Recipe | None) -> TrainConfig:
    # An unknown preset is left for tyro, which says what is allowed.
    config = PRESETS.get(choice.preset, PRESETS["digits"]).config
    if recipe is None:
        return config
    options = {**recipe.options, "preset": config.preset, "recipe": recipe.path}
    return dataclasses.replace(config, **options)


def _of_recipe(error: UsageError, recipe: Recipe | None, typed: set[str]) -> UsageError:
    """The error, with the recipe's name where the value comes from there."""
    named = re.findall(r"`(\w+)`", str(error))
    if recipe is None or not named or named[0] in typed:
        return error
    if named[0] not in recipe.options:
        return error
    return UsageError(f"`recipe` {recipe.path!r}: {error}")


def _presets() -> str:
    rows = "\n".join(
        f"  {name}: `{preset.command}` ({preset.expectation})"
        for name, preset in PRESETS.items()
    )
    return f"Presets:\n{rows}"
