"""The list of runs and the comparison of two, as tables and for programs."""

from __future__ import annotations

import dataclasses
import datetime
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.filesize import decimal

from scalenet_training.overview import words
from scalenet_training.overview.comparison import Differences
from scalenet_training.overview.config import Sort
from scalenet_training.overview.overview import Overview
from scalenet_training.text import printable

_STYLES = {"running": "cyan", "stopped": "yellow", "diverged": "red", "damaged": "red"}
_ORDERS: Mapping[Sort, Callable[[Overview], Any]] = {
    "name": lambda one: one.run,
    "model": lambda one: one.model,
    "dataset": lambda one: one.dataset,
    "preset": lambda one: one.preset,
    "error": lambda one: one.best_error,
    "epochs": lambda one: one.epochs,
    "state": lambda one: one.state,
    "age": lambda one: -one.changed,
    "size": lambda one: -one.size,
}


def ordered(runs: Sequence[Overview], by: Sort) -> list[Overview]:
    """Runs in an order; those that lack what decides it come last."""
    order = _ORDERS[by]

    def key(one: Overview) -> tuple[bool, Any]:
        value = order(one)
        return value is None, 0 if value is None else value

    return sorted(runs, key=key)


def print_list(runs: Sequence[Overview]) -> None:
    """Prints a line for each run."""
    now = time.time()
    _print(
        ("run", "model", "dataset", "preset", "state"),
        ("best error", "at epoch", "epochs", "age", "size"),
        [_cells(one, now) for one in runs],
    )


def _cells(one: Overview, now: float) -> list[str]:
    dataset = one.dataset and os.path.basename(os.path.normpath(one.dataset))
    texts = (one.run, one.model, dataset, one.preset)
    epochs = None if one.epochs is None else f"{one.epochs} of {one.planned_epochs}"
    return [
        *(printable(text or words.NOTHING) for text in texts),
        one.state,
        words.cell("best_error", one.best_error),
        str(one.best_epoch or words.NOTHING),
        epochs or words.NOTHING,
        words.age(now - one.changed),
        decimal(one.size),
    ]


def print_comparison(
    names: Sequence[str], found: Differences, results: Mapping[str, Sequence[Any]]
) -> None:
    """Prints what differs between runs, and then their results, side by side."""
    for group, fields in {**found, "results": results}.items():
        rows = [
            [printable(words.title(field)), *(words.cell(field, v) for v in values)]
            for field, values in fields.items()
        ]
        _print((group,), names, rows)
        print()


def as_rows(runs: Sequence[Overview]) -> list[dict[str, Any]]:
    """The list for programs: the fields of `Overview`, times in ISO's form."""
    return [{**dataclasses.asdict(one), "changed": _iso(one.changed)} for one in runs]


def _iso(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="seconds")


def _print(
    left: Sequence[str], right: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Prints a table: fitted to a terminal, or else in full, a line for each row.

    Args:
        left: Titles of the first columns, which are set to the left.
        right: Those of the others, which are set to the right.
        rows: The cells.
    """
    if sys.stdout.isatty():
        _print_fitted(left, right, rows)
        return
    widths = [
        max(map(len, column)) for column in zip((*left, *right), *rows, strict=True)
    ]
    for row in ((*left, *right), *rows):
        cells = [
            cell.ljust(width) if place < len(left) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def _print_fitted(
    left: Sequence[str], right: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in left:
        table.add_column(title, overflow="fold")
    for title in right:
        table.add_column(title, justify="right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in row))
    Console(highlight=False).print(table)
