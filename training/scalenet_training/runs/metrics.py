"""The rows of metrics.csv, one per epoch. Imports no TensorFlow."""

from __future__ import annotations

import csv
import io
import math
import os
import reprlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scalenet_tf.files import read_bounded
from scalenet_training.errors import UsageError

METRICS_FILE = "metrics.csv"

# What a row has had since the first version, and is read.
_COLUMNS = (
    *("epoch", "loss", "top1_error", "top5_error"),
    *("val_loss", "val_top1_error", "val_top5_error", "images_per_second"),
)
_FEW = 100  # examples, below which an error is told with its interval
# What "best" can mean -> the column in which less is better.
BEST_COLUMNS = {
    "top1": "val_top1_error",
    "top5": "val_top5_error",
    "loss": "val_loss",
}
_TOP = 5  # of as many classes as that or fewer, one is always right


def read_rows(path: str) -> list[dict[str, Any]]:
    """The rows, with numbers for values; an empty list where there is no file.

    Raises:
        UsageError: It is not a table of numbers; the message names the column.
    """
    if not os.path.exists(path):
        return []
    try:
        text = read_bounded(path).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"it has no column {missing[0]!r}")
        return [_numbers(row, reader.line_num) for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{path!r} is no run's metrics.csv: {error}.") from error


def _numbers(row: Mapping[str, Any], line: int) -> dict[str, Any]:
    found = {}
    for name, value in row.items():
        try:
            found[name] = int(value) if name == "epoch" else float(value)
        except (ValueError, TypeError):
            place = f"line {line}, column {name!r}" if name else f"line {line}"
            text = reprlib.repr(value)
            raise ValueError(f"{place} must be a number. Received: {text}") from None
    return found


def has_top5(classes: int) -> bool:
    """Whether a top-5 error can be other than zero."""
    return classes > _TOP


def worth_telling(values: Mapping[str, Any], classes: int) -> dict[str, Any]:
    """What people are shown of these values.

    Without top-5 errors, where there are too few classes for them; with the accuracy
    of the validation images beside their error.
    """
    few = not has_top5(classes)
    told = {k: v for k, v in values.items() if not (few and "top5_error" in k)}
    if "val_top1_error" in told:
        told["val_accuracy"] = 1 - told["val_top1_error"]
    return told


def errors_in_words(values: Mapping[str, Any], classes: int, prefix: str = "") -> str:
    """Top-1 error and, where there are enough classes, top-5 error; the accuracy.

    Args:
        values: `top1_error` and `top5_error`, fractions.
        classes: Number of classes.
        prefix: Of the names of the values.
    """
    told = [("top-1", "top1_error"), ("top-5", "top5_error")]
    shown = worth_telling(values, classes)
    errors = [
        f"{title} error {shown[prefix + name]:.2%}"
        for title, name in told
        if prefix + name in shown
    ]
    return ", ".join([*errors, f"accuracy {1 - shown[f'{prefix}top1_error']:.2%}"])


def interval_in_words(error: float, examples: int) -> str:
    """The 95 % interval of an error of few examples, as a line; "" of 100 or more.

    Source: Wilson, "Probable inference, the law of succession, and statistical
    inference", 1927.

    Args:
        error: Fraction of the examples.
        examples: Number of examples.
    """
    if examples >= _FEW:
        return ""

    from scipy.stats import binomtest

    test = binomtest(round(error * examples), examples)
    interval = test.proportion_ci(0.95, method="wilson")
    return (
        f"{error:.2%} of {examples} examples: the 95 % interval of the error is "
        f"{interval.low:.1%} to {interval.high:.1%} (Wilson)."
    )


class Curve(NamedTuple):
    """The epochs of a run.

    Attributes:
        rows: Of metrics.csv.
        decided_by: A key of `BEST_COLUMNS`: what is lowest in the best epoch.
        unfinished: An epoch that was evaluated before its end, counted from 0.
    """

    rows: Sequence[Mapping[str, Any]]
    decided_by: str = "top1"
    unfinished: int | None = None

    @property
    def best(self) -> Mapping[str, Any]:
        """The row of that epoch; there must be one.

        An epoch that was not finished counts only where there is no other.
        """
        return best_row(self._whole or self.rows, self.decided_by)

    def has_run_out(self, patience: int) -> bool:
        """Whether so many epochs brought no better one; never of a patience of 0."""
        if not (patience and self._whole):
            return False
        return self._whole[-1]["epoch"] - self.best["epoch"] >= patience

    @property
    def _whole(self) -> Sequence[Mapping[str, Any]]:
        return [row for row in self.rows if row["epoch"] != self.unfinished]


def median_speed(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Images per second; `None` where none is known.

    That of an epoch is not, in which a run resumed only to evaluate it.
    """
    speeds = [known(row).get("images_per_second") for row in rows]
    found = [speed for speed in speeds if speed is not None]
    return statistics.median(found) if found else None


def known(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row without numbers that are NaN or infinite, which JSON does not have."""
    return {name: value for name, value in row.items() if math.isfinite(value)}


def best_row(
    rows: Sequence[Mapping[str, Any]], best: str = "top1"
) -> Mapping[str, Any]:
    """The row of the epoch that `best.keras` is from: the first of the lowest value.

    Args:
        rows: One or more.
        best: A key of `BEST_COLUMNS`.
    """
    numbers = [row for row in rows if math.isfinite(row["val_loss"])]
    return min(numbers or rows, key=lambda row: row[BEST_COLUMNS[best]])
