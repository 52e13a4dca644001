"""The results of a study: one row for each run, and what they say together."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import os
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from scalenet_tf.files import read_bounded, unreadable
from scalenet_training.runs.files import write_rows
from scalenet_training.study.spec import Study

RESULTS_FILE = "results.csv"


@dataclasses.dataclass(frozen=True)
class Result:
    """One run that has ended.

    Attributes:
        arm: Name of its arm.
        seed: Its seed.
        architecture: Name of the network.
        parameters: Trainable ones.
        macs: Multiply-accumulates of one image.
        epochs: How many it was trained.
        train_error: Top-1 error of the augmented training images in the last epoch.
        error: Top-1 error of the evaluation images after the last epoch.
        top5_error: Top-5 error of the same.
        loss: Loss of the same.
        images_per_second: Median of the epochs.
        command: What trained it.
        hardware: On what.
        date: When it ended, as YYYY-MM-DD.
        versions: Of what computed.
    """

    arm: str
    seed: int
    architecture: str
    parameters: int
    macs: int
    epochs: int
    train_error: float
    error: float
    top5_error: float
    loss: float
    images_per_second: int
    command: str
    hardware: str
    date: str
    versions: str


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean of several runs.

    Attributes:
        mean: Their mean.
        standard_error: Of the mean; NaN of one run.
        half_width: Of the 95 % interval, by Student's t; NaN of one run.
    """

    mean: float
    standard_error: float
    half_width: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """The mean of values with its spread.

        Raises:
            ValueError: There are none.
        """
        if not values:
            raise ValueError("`values` must be one number or more. Received: none.")
        mean = statistics.fmean(values)
        if len(values) < 2:
            return cls(mean, math.nan, math.nan)
        from scipy import stats

        error = statistics.stdev(values) / math.sqrt(len(values))
        return cls(mean, error, float(stats.t.ppf(0.975, len(values) - 1)) * error)


@dataclasses.dataclass(frozen=True)
class Summary:
    """An arm.

    Attributes:
        arm: Its name.
        results: Its runs, by seed.
        error: Top-1 error.
        difference: Of the error to that of the other arm with the same seed; `None`
            where no seed is in both.
    """

    arm: str
    results: tuple[Result, ...]
    error: Interval
    difference: Interval | None


def summarize(study: Study, results: Iterable[Result]) -> list[Summary]:
    """What the runs of each arm say together; arms without a run are left out."""
    by_arm: dict[str, dict[int, Result]] = {arm.name: {} for arm in study.arms}
    for result in counted(study, results):
        by_arm[result.arm][result.seed] = result
    reference = by_arm[study.compare_with]
    summaries = []
    for name, runs in by_arm.items():
        if not runs:
            continue
        pairs = [
            runs[seed].error - reference[seed].error
            for seed in runs
            if seed in reference and name != study.compare_with
        ]
        summaries.append(
            Summary(
                arm=name,
                results=tuple(runs[seed] for seed in sorted(runs)),
                error=Interval.of([run.error for run in runs.values()]),
                difference=Interval.of(pairs) if pairs else None,
            )
        )
    return summaries


def read_results(path: str) -> list[Result]:
    """The rows of results.csv; none where there is no file.

    Raises:
        ValueError: It has other columns, or an entry that is no number.
    """
    kinds: dict[str, Callable[[str], Any]] = {"int": _whole, "float": float, "str": str}
    fields = {
        field.name: kinds[str(field.type)] for field in dataclasses.fields(Result)
    }
    if not os.path.exists(path):
        return []
    with unreadable(f"{path!r} cannot be read"):
        text = read_bounded(path).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        if reader.fieldnames != list(fields):
            raise ValueError(
                f"it must have the columns {', '.join(fields)}. Received: "
                f"{', '.join(reader.fieldnames or ())}"
            )
        return [_result(row, fields, reader.line_num) for row in reader]


def _whole(text: str) -> int:
    number = float(text)  # earlier versions wrote images/s as 537.0
    if not number.is_integer():
        raise ValueError(text)
    return int(number)


def _result(
    row: Mapping[str, str], kinds: Mapping[str, Callable[[str], Any]], line: int
) -> Result:
    values = {}
    for name, kind in kinds.items():
        try:
            values[name] = kind(row[name])
        except (ValueError, TypeError):
            raise ValueError(
                f"line {line}, column {name!r} must be a number. Received: "
                f"{row[name]!r}"
            ) from None
    return Result(**values)


def write_results(path: str, results: Sequence[Result]) -> None:
    """Writes results.csv whole: one row for each run, of which there must be one."""
    write_rows(path, [dataclasses.asdict(result) for result in results])


def table(study: Study, results: Iterable[Result]) -> str:
    """The summary as a Markdown table."""
    header = (
        "| arm | runs | MACs | parameters | epochs | top-1 error, % | standard error "
        f"| difference to {study.compare_with}, points [95 % interval] |"
    )
    lines = [header, "|---|---|---|---|---|---|---|---|"]
    for summary in summarize(study, results):
        lines.append(_line(summary, study))
    return "\n".join(lines)


def _line(summary: Summary, study: Study) -> str:
    runs = summary.results
    cells = [
        summary.arm,
        str(len(runs)),
        _range([run.macs for run in runs]),
        _range([run.parameters for run in runs]),
        _range([run.epochs for run in runs]),
        f"{100 * summary.error.mean:.2f}",
        _number(100 * summary.error.standard_error),
        _difference(summary.difference),
    ]
    return f"| {' | '.join(cells)} |"


def _difference(difference: Interval | None) -> str:
    if difference is None:
        return "-"
    mean, half = 100 * difference.mean, 100 * difference.half_width
    if math.isnan(half):
        return f"{mean:+.2f} [one pair]"
    return f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}]"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def missing(study: Study, results: Iterable[Result]) -> list[str]:
    """Names of the runs that have no row with the epochs that the study asks for."""
    there = {(result.arm, result.seed) for result in counted(study, results)}
    return [
        f"{arm.name}-{seed}"
        for seed in study.seeds
        for arm in study.arms
        if (arm.name, seed) not in there
    ]


def counted(study: Study, results: Iterable[Result]) -> list[Result]:
    """The rows that are those of the study: its arms, its seeds, its epochs."""
    epochs = {arm.name: arm.epochs for arm in study.arms}
    return [
        result
        for result in results
        if result.seed in study.seeds
        and result.arm in epochs
        # More of them are another training, too: a schedule hangs on its length.
        and epochs[result.arm] in (None, result.epochs)
    ]


def metrics_file(folder: str, arm: str, seed: int) -> str:
    """Where a study keeps the metrics.csv of a run."""
    return os.path.join(folder, "metrics", f"{arm}-{seed}.csv")


def mean_curves(
    rows: Mapping[int, Sequence[Mapping[str, float]]], column: str
) -> list[tuple[float, float, float]]:
    """Mean, lowest and highest value of a column by epoch, over the seeds."""
    values = zip(*([row[column] for row in run] for run in rows.values()), strict=False)
    return [(statistics.fmean(v), min(v), max(v)) for v in values]
