"""The report of a study: a table, figures, and whether they are still true."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

from scalenet_training.errors import RunError, usage_errors
from scalenet_training.runs.files import replacing, written
from scalenet_training.runs.metrics import read_rows
from scalenet_training.study.agreement import (
    Agreement,
    agreement_table,
    agreements_of,
)
from scalenet_training.study.config import StudyConfig
from scalenet_training.study.results import (
    RESULTS_FILE,
    Result,
    counted,
    metrics_file,
    missing,
    read_results,
    table,
)
from scalenet_training.study.spec import Study, read_study

REPORT_FILE = "report.md"
CURVES_FILE = "curves.png"
MACS_FILE = "macs.png"

# A part of another Markdown file that must be a study's table.
_QUOTED = re.compile(
    r"<!-- study: (?P<folder>\S+) -->\n(?P<table>.*?)\n<!-- end of study -->", re.DOTALL
)


def write_report(study: Study, folder: str) -> None:
    """Writes report.md and the figures, from results.csv and the kept metrics."""
    results = counted(study, read_results(os.path.join(folder, RESULTS_FILE)))
    if not results:
        return
    from scalenet_training.study.figures import plot_error_by_macs, plot_mean_curves

    with replacing(os.path.join(folder, CURVES_FILE)) as path:
        plot_mean_curves(study, _metrics(results, folder), path)
    with replacing(os.path.join(folder, MACS_FILE)) as path:
        plot_error_by_macs(study, results, path)
    with written(os.path.join(folder, REPORT_FILE)) as file:
        file.write(render(study, results, agreements_of(study, folder)))


def render(
    study: Study, results: list[Result], agreements: Sequence[Agreement] = ()
) -> str:
    """The text of report.md."""
    results = counted(study, results)
    left = missing(study, results)
    hardware = sorted({result.hardware for result in results})
    versions = sorted({result.versions for result in results})
    dates = sorted({result.date for result in results})
    lines = [
        f"# {study.title}",
        "",
        "Written by `scalenet study`; every number is from results.csv. Errors are "
        "those after the last epoch; nothing was chosen by them.",
        "",
        table(study, results),
        "",
        f"Runs that have ended: {study.size - len(left)} of {study.size}"
        + (f" (left: {', '.join(left)})." if left else "."),
        "The difference is taken seed by seed; its interval is Student's t over the "
        "pairs.",
        "",
        f"![Top-1 error over the epochs]({CURVES_FILE})",
        f"![Top-1 error against MACs]({MACS_FILE})",
        "",
        *_agreement_lines(agreements),
        f"Hardware: {'; '.join(hardware)}.",
        f"Versions: {'; '.join(versions)}.",
        *(f"Dates: {day} to {dates[-1]}." for day in dates[:1]),
    ]
    return "\n".join(lines) + "\n"


def _agreement_lines(agreements: Sequence[Agreement]) -> list[str]:
    if not agreements:
        return []
    return [
        "Allocations of different seeds, by the share of a block's neurons at each "
        "scale, each two seeds compared; every number is from allocations/:",
        "",
        agreement_table(agreements),
        "",
    ]


def check_report(config: StudyConfig) -> None:
    """Checks that report.md is what results.csv gives.

    Raises:
        RunError: It is not; the message names the file.
        UsageError: There is no study, or its results cannot be read.
    """
    folder = config.results_folder
    with usage_errors():
        study = read_study(config.file)
        results = read_results(os.path.join(folder, RESULTS_FILE))
        path = os.path.join(folder, REPORT_FILE)
        with open(path, encoding="utf-8") as file:
            found = file.read()
        agreements = agreements_of(study, folder)
    if found != render(study, results, agreements):
        raise RunError(
            f"{path!r} is not what results.csv gives. Write it anew: "
            f"scalenet study {config.file} --report"
        )
    runs = len(counted(study, results))
    print(f"{runs} runs; {REPORT_FILE} is what {RESULTS_FILE} gives")


def quoted_tables(text: str, results_root: str) -> list[str]:
    """Which tables that a Markdown text quotes from studies are not theirs.

    A quotation stands between the comments `<!-- study: FOLDER -->` and
    `<!-- end of study -->`.

    Args:
        text: Of the file.
        results_root: Where the folders are that it names.

    Returns:
        The folders whose tables differ.
    """
    different = []
    for match in _QUOTED.finditer(text):
        folder = os.path.join(results_root, match["folder"])
        study = read_study(os.path.join(folder, "study.toml"))
        results = read_results(os.path.join(folder, RESULTS_FILE))
        if match["table"].strip() != table(study, results):
            different.append(match["folder"])
    return different


def _metrics(results: list[Result], folder: str) -> dict[str, dict[int, list]]:
    """Arm -> seed -> rows of metrics.csv."""
    by_arm: dict[str, dict[int, list]] = {}
    for result in results:
        path = metrics_file(folder, result.arm, result.seed)
        rows = read_rows(path)
        if rows:
            by_arm.setdefault(result.arm, {})[result.seed] = rows
        else:
            print(
                f"note: {path!r} has no rows or is not there; {CURVES_FILE} is without "
                "this run.",
                file=sys.stderr,
            )
    return by_arm
