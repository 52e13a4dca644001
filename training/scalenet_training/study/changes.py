"""Whether a study's file still says what its runs were trained with."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from scalenet_tf.files import read_json
from scalenet_training.errors import SettingError
from scalenet_training.networks.allocation_file import PROVENANCE
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.settings.base import resumable_fields
from scalenet_training.settings.training import TrainConfig, comparable
from scalenet_training.study.collection import command_of
from scalenet_training.study.config import StudyConfig
from scalenet_training.study.results import Result
from scalenet_training.study.spec import Study, StudyRun
from scalenet_training.text import differing

_ABSENT = "not given"

Differences = Mapping[str, tuple[Any, Any]]


def check_unchanged(
    study: Study, config: StudyConfig, results: Sequence[Result]
) -> None:
    """Checks that the runs of a study, and their allocations, are those of its file.

    Raises:
        SettingError: They are not: one table would mix what is not the same.
    """
    rows = {(result.arm, result.seed): result for result in results}
    for run in study.runs(config.runs_folder):
        row = rows.get((run.arm.name, run.seed))
        changed = _of_allocation(run, config)
        if RunFolder(run.folder).has_record:
            changed = {**changed, **_of_folder(run)}
        elif row is not None:
            changed = {**changed, **_of_row(run, row)}
        if changed:
            raise SettingError(
                f"`file` {config.file!r} has changed since its run {run.name} began: "
                f"{differing(changed, 'then')}. Put it back as it was, or give the arm "
                "another name; or remove the run, to train it anew: its row in "
                f"results.csv, its folder {run.folder!r}, its file in allocations/."
            )


def _of_folder(run: StudyRun) -> Differences:
    recorded = RunFolder(run.folder).read_record().config
    is_allocated = run.arm.allocation is not None
    model = recorded.model if is_allocated else run.arm.config.model
    now = run.settings(model, recorded.data_dir)
    found = now.differences(recorded)
    # A run by itself goes on with more epochs, but its schedule then starts anew from
    # where it ended: not the training of the study's other runs.
    if now.epochs != recorded.epochs:
        found["epochs"] = (recorded.epochs, now.epochs)
    return {name: pair for name, pair in found.items() if name not in run.arm.free}


def _of_row(run: StudyRun, row: Result) -> Differences:
    """By the command, where the run's folder is gone."""
    before = _options(shlex.split(row.command))
    is_allocated = run.arm.allocation is not None
    model = before.get("model", _ABSENT) if is_allocated else run.arm.config.model
    now = _options(command_of(run, model))
    names = {*before, *now} - {*resumable_fields(TrainConfig)}
    pairs = {n: (before.get(n, _ABSENT), now.get(n, _ABSENT)) for n in sorted(names)}
    return {
        name: (old, new)
        for name, (old, new) in pairs.items()
        if comparable(name, old) != comparable(name, new)
    }


def _options(command: Sequence[str]) -> dict[str, str]:
    """The settings that a command's options name, each with its values."""
    found: dict[str, list[str]] = {}
    for word in command:
        if word.startswith("--"):
            found[word.removeprefix("--").replace("-", "_")] = []
        elif found:
            found[next(reversed(found))].append(word)
    return {name: " ".join(values) for name, values in found.items()}


def _of_allocation(run: StudyRun, config: StudyConfig) -> Differences:
    spec = run.arm.allocation
    path = config.allocation_file(run.name)
    if spec is None or not os.path.exists(path):
        return {}
    content = read_json(path)
    made = content.get(PROVENANCE, {}) if isinstance(content, dict) else {}
    now = {**dataclasses.asdict(spec), "seed": run.seed}
    return {
        f"allocations.{name}": (made[name], value)
        for name, value in now.items()
        if name in made and made[name] != value
    }
