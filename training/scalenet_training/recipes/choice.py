"""Which preset a training takes, what follows from the data, and what is said of it.

Imports no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from scalenet_tf.shipped import find_shipped
from scalenet_training.errors import SettingError, usage_errors
from scalenet_training.recipes.facts import Facts, are_files, facts_of_files
from scalenet_training.recipes.fit import FITTED, fitted
from scalenet_training.recipes.presets import OF_DATASETS, PRESETS, as_options
from scalenet_training.recipes.recipe import Recipe, config_of_run
from scalenet_training.runs.record import CONFIG_FILE
from scalenet_training.settings.training import TrainConfig

# What versions before 0.2 took where no preset was given.
_EARLIER = "digits"


@dataclasses.dataclass(frozen=True)
class Choice:
    """A preset, and why it is taken, as the end of "Preset photos, ..."."""

    preset: str
    reason: str


def choices(given: Mapping[str, Any], runs: bool) -> Iterator[Choice]:
    """The preset to take; then those of runs that may have begun with another one.

    Args:
        given: Settings from the command line and a recipe.
        runs: Whether a run of an earlier version may go on.
    """
    preset = given.get("preset")
    if preset is not None:
        yield Choice(preset, "as given")
        return
    chosen = _by_data(
        given.get("dataset"), given.get("data_dir"), given.get("weights") is not None
    )
    yield chosen
    if runs and chosen.preset != _EARLIER:
        yield Choice(_EARLIER, "as the run in the folder has it")


def _by_data(dataset: str | None, data_dir: str | None, weights: bool) -> Choice:
    if dataset is None:
        return Choice(_EARLIER, "since no `dataset` is given")
    name = dataset.partition(":")[0]  # without a version
    if are_files(dataset, data_dir) and name not in OF_DATASETS:
        if weights:
            return Choice("finetune", "for a folder or a manifest with `weights`")
        return Choice("photos", "for a folder or a manifest without `weights`")
    if name in OF_DATASETS:
        return Choice(OF_DATASETS[name], f"that of `dataset` {dataset}")
    return Choice(
        _EARLIER, f"since {dataset} has none of its own; `preset` takes another one"
    )


@dataclasses.dataclass(frozen=True)
class Decided:
    """The settings of a training, and where they come from.

    Attributes:
        config: The settings.
        choice: Its preset.
        facts: What is known of its images, if that was looked for.
        run: Folder of the run that goes on and has its decisions; None for a new one.
        free: Fields that are neither on the command line nor in a recipe.
        recipe: The recipe's file, if there is one.
        start: The settings of the run that the weights are of, if they are of one.
    """

    config: TrainConfig
    choice: Choice
    free: Collection[str]
    recipe: Recipe | None = None
    facts: Facts | None = None
    run: str | None = None
    start: TrainConfig | None = None

    def fit(self) -> Decided:
        """The same with what follows from the data.

        Raises:
            UsageError: The preset names no dataset and none is given, or the data
                cannot be listed.
        """
        preset, config = PRESETS[self.choice.preset], self.config
        rule = preset.recipe.fit
        if self.recipe is not None and self.recipe.fit is not None:
            rule = self.recipe.fit
        if rule is None:
            return self
        if "dataset" in self.free and "dataset" not in preset.recipe.options:
            raise SettingError(
                f"`dataset` must be given for `preset` {self.choice.preset}: a folder "
                "or a manifest of images, or a name of TensorFlow Datasets."
            )
        facts = None
        if are_files(config.dataset, config.data_dir):
            with usage_errors():
                facts = facts_of_files(config.dataset, config.train_split)
        start = _run_of(config.weights)
        config = fitted(config, preset.config, rule, facts, self.free, start)
        return dataclasses.replace(self, config=config, facts=facts, start=start)

    def as_in(self, folder: str) -> Decided | None:
        """The same as a run has decided it; None where no such run is in the folder.

        A run goes on by what it began with, also where the rule, the images or the
        preset's file have changed since.
        """
        recorded = _run_in(folder)
        if recorded is None or recorded.preset != self.choice.preset:
            return None
        kept = {name: getattr(recorded, name) for name in self._fitted}
        if "epochs" in kept:  # a run goes on with more of them
            kept["epochs"] = max(recorded.epochs, self.config.epochs)
        config = dataclasses.replace(self.config, **kept)
        return dataclasses.replace(self, config=config, run=folder)

    @property
    def _fitted(self) -> list[str]:
        by_rule = PRESETS[self.choice.preset].fitted
        return [name for name in FITTED if name in by_rule and name in self.free]

    def lines(self) -> list[str]:
        """Which preset it is and why, and which settings come from where."""
        preset = PRESETS[self.choice.preset]
        known = "" if self.facts is None else f": {self.facts}"
        found = [f"Preset {self.choice.preset}, {self.choice.reason}{known}."]
        values, base = vars(self.config), vars(preset.config)
        by_data = {n: values[n] for n in self._fitted if values[n] != base[n]}
        by_preset = {
            name: values[name]
            for name in preset.recipe.options
            if name in self.free and name not in by_data
        }
        by_recipe = {}
        if self.recipe is not None:
            by_recipe = {
                name: values[name]
                for name, value in self.recipe.options.items()
                if values[name] == value and value != base[name]
            }
            found.append(_listed(f"From the recipe {self.recipe.path!r}", by_recipe))
        source = "the images" if self.run is None else f"the run in {self.run!r}"
        if self.start is not None and self.run is None:
            source = f"{source} and the run of the weights"
        found.append(_listed(f"From {source}", by_data))
        found.append(_listed("From the preset", by_preset))
        return [line for line in found if line]


def _run_in(folder: str) -> TrainConfig | None:
    """The settings of the run in a folder; None where there is none.

    Whoever opens the folder says what is wrong with it.
    """
    try:
        return config_of_run(os.path.join(folder, CONFIG_FILE))
    except (OSError, ValueError):
        return None


def _run_of(weights: str | None) -> TrainConfig | None:
    """The settings of the run in whose folder the weights are."""
    if weights is None:
        return None
    with usage_errors():
        shipped = find_shipped(weights)
    return _run_in(os.path.dirname(weights if shipped is None else shipped.path))


def _listed(title: str, values: Mapping[str, Any]) -> str:
    return f"{title}: {shlex.join(as_options(values))}" if values else ""
