"""Lists runs: what each is, its best error, how far it has come, what it is doing.

Two of them side by side by --compare.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scalenet_training.cli.running import parse
from scalenet_training.errors import UsageError
from scalenet_training.invocation import as_word, typed_as
from scalenet_training.overview.config import RunsConfig
from scalenet_training.settings.base import fields_of
from scalenet_training.settings.inputs import FOLDER
from scalenet_training.text import printable

if TYPE_CHECKING:
    from scalenet_training.overview.overview import Run

SETTINGS = (RunsConfig,)


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    config = parse(RunsConfig, __doc__, arguments, program)
    if config.compare is None:
        _list(config)
    else:
        _compare(config.compare, config)


def _list(config: RunsConfig) -> None:
    from scalenet_training.overview import tables
    from scalenet_training.overview.finding import find_runs
    from scalenet_training.overview.overview import Overview, overview
    from scalenet_training.runs.files import write_rows

    for folder in config.folders:  # not checked with --compare, where none is given
        FOLDER.check("`folders`", folder)
    paths = find_runs(config.folders)
    found = tables.ordered([*map(overview, paths)], config.sort)
    rows = tables.as_rows(found)
    if config.csv is not None:
        write_rows(config.csv, rows, columns=fields_of(Overview))
    if config.json:
        print(json.dumps(rows, indent=1))
        return
    if found:
        tables.print_list(found)
    else:
        print(f"No run in {', '.join(map(printable, config.folders))}.")
    for one in found:
        if one.reason is not None:
            print(f"damaged: {printable(one.reason)}")
    if config.csv is not None:
        print(f"written: {printable(config.csv)}")
    named = [as_word(one.run) for one in found if one.epochs][:2]
    if len(named) == 2:
        print(
            f"Two side by side: {shlex.join(typed_as('runs', ['--compare', *named]))}"
        )
        print(f"As a page: {shlex.join(typed_as('report', named))}")


def _compare(pair: Sequence[str], config: RunsConfig) -> None:
    from scalenet_training.overview import tables, words
    from scalenet_training.overview.comparison import differences, results
    from scalenet_training.overview.overview import read_run

    runs = [read_run(path) for path in pair]
    names, found, told = words.names(pair), differences(runs), results(runs)
    if config.plot is not None:
        _plot(config.plot, names, runs)
    if config.json:
        about = {"runs": [*pair], "differences": found, "results": told}
        print(json.dumps(about, indent=1))
        return
    tables.print_comparison(names, found, told)
    if "settings" not in found:
        print("Their settings are the same.")
    if config.plot is not None:
        print(f"curves: {printable(config.plot)}")


def _plot(path: str, names: Sequence[str], runs: Sequence[Run]) -> None:
    for run in runs:
        if not run.rows:
            raise UsageError(
                "`plot` must be left out: a run has no curve before its first epoch. "
                f"Received: {run.path!r}."
            )

    from scalenet_training.runs.figures import Data, by_data, plot_curves, told_apart
    from scalenet_training.runs.files import replacing

    data = {run.path: Data.of(run.record) for run in runs}
    if len(by_data(data)) > 1:
        raise UsageError(
            "`plot` must be left out: the runs are on different data, and `scalenet "
            "plot curves RUN... --across-data` draws them in one figure. Received: "
            f"{told_apart(data)}."
        )
    with replacing(path) as temporary:
        curves = {name: run.curve for name, run in zip(names, runs, strict=True)}
        plot_curves(curves, temporary, str(data[runs[0].path]))
