"""Writes a page of the curves and results of runs, and of what differs between them.

It has everything in it, the figures of their evaluations too, and loads nothing.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scalenet_training.cli.running import parse
from scalenet_training.report.config import ReportConfig
from scalenet_training.text import printable

if TYPE_CHECKING:
    from scalenet_training.overview.overview import Run

SETTINGS = (ReportConfig,)


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    config = parse(ReportConfig, __doc__, arguments, program)

    from scalenet_training.overview.overview import read_run
    from scalenet_training.report.evaluations import evaluations_of
    from scalenet_training.report.page import render_runs
    from scalenet_training.runs.files import written

    runs = [read_run(path) for path in dict.fromkeys(config.runs)]
    evaluations = evaluations_of([run.path for run in runs], config.evaluations)
    with tempfile.TemporaryDirectory() as folder:
        page = render_runs(runs, evaluations, _curves(runs, folder))
    with written(config.output) as file:
        file.write(page)
    print(f"report: {printable(config.output)}")


def _curves(runs: Sequence[Run], folder: str) -> list[str]:
    """Pictures of the curves of runs, in a folder: one of the runs on equal data."""
    from scalenet_training.overview import words
    from scalenet_training.runs.figures import Data, by_data, plot_curves

    names = words.names([run.path for run in runs])
    drawn = {name: run for name, run in zip(names, runs, strict=True) if run.rows}
    paths: list[str] = []
    for group in by_data({name: Data.of(run.record) for name, run in drawn.items()}):
        paths.append(os.path.join(folder, f"{len(paths)}.png"))
        about = str(next(iter(group.values())))
        plot_curves({name: drawn[name].curve for name in group}, paths[-1], about)
    return paths
