"""The reports of evaluations that there are of a run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from scalenet_training.errors import UsageError
from scalenet_training.evaluate.report.facts import FACTS, read_facts


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The report of an evaluation.

    Attributes:
        folder: Where it is.
        facts: The content of its report.json.
    """

    folder: str
    facts: Mapping[str, Any]


def evaluations_of(
    runs: Sequence[str], others: Sequence[str]
) -> dict[str, list[Evaluation]]:
    """The reports of each run.

    Args:
        runs: Their folders, in which reports are looked for.
        others: Folders of reports elsewhere, which name one of the runs as their model.

    Raises:
        UsageError: A report cannot be read, or is of none of these runs.
    """
    found = {run: [*map(_read, _inside(run))] for run in runs}
    places = {os.path.realpath(run): run for run in runs}
    for folder in others:
        one = _read(folder)
        # A run by its folder, or by a file in it.
        model = os.path.realpath(one.facts["model"])
        run = places.get(model) or places.get(os.path.dirname(model))
        if run is None:
            raise UsageError(
                f"`evaluations` must be reports of these runs. Received: {folder!r}, "
                f"which is of {one.facts['model']!r}."
            )
        if all(not os.path.samefile(folder, own.folder) for own in found[run]):
            found[run].append(one)
    return found


def _read(folder: str) -> Evaluation:
    return Evaluation(folder, read_facts(folder))


def _inside(run: str) -> list[str]:
    places = sorted(os.path.join(run, name) for name in os.listdir(run))
    return [place for place in places if os.path.isfile(os.path.join(place, FACTS))]
