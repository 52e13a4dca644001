"""Settings of a report of runs. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import tyro

from scalenet_training.settings.base import IN_A_FOLDER, Bound, Settings, suffix
from scalenet_training.settings.inputs import FOLDER, RUN

_ONE_OR_MORE = Bound("must be one or more", bool)


@dataclasses.dataclass(frozen=True)
class ReportConfig(Settings):
    """Which runs, and where their page is written."""

    runs: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="RUN [RUN ...]"),
        _ONE_OR_MORE,
        RUN,
    ]
    """Folders of runs."""

    output: Annotated[str, suffix(".html"), IN_A_FOLDER] = "report.html"
    """The page; one that is there is replaced."""

    evaluations: Annotated[tuple[str, ...], FOLDER] = ()
    """Folders of reports (evaluate --report) of these runs, whose figures come into the
    page. Those in the folder of a run are found without it."""
