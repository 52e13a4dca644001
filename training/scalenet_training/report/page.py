"""The page of runs."""

from __future__ import annotations

import datetime
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence

from scalenet_training.evaluate.report.facts import CAPTIONS, CURVES, PAGE
from scalenet_training.overview import words
from scalenet_training.overview.comparison import differences, results
from scalenet_training.overview.overview import Run
from scalenet_training.pages.page import heading, image, paragraph, render, table
from scalenet_training.report.evaluations import Evaluation
from scalenet_training.text import printable

_CAPTION = (
    "Top-1 errors and losses over the epochs: of the training images as they were "
    "trained on, with augmentation, and of the validation images."
)


def render_runs(
    runs: Sequence[Run],
    evaluations: Mapping[str, Sequence[Evaluation]],
    curves: Sequence[str],
) -> str:
    """The page.

    Args:
        runs: One or more.
        evaluations: Folder of each run -> the reports that there are of it.
        curves: PNG files with their curves; none where no run has any.
    """
    names = words.names([run.path for run in runs])
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    one = len(runs) == 1
    return render(
        title=f"Run {names[0]}" if one else f"{len(runs)} runs",
        facts=f"{', '.join(printable(run.path) for run in runs)}. {now}",
        figures=_tiles(names, runs),
        sections=_sections(names, runs, evaluations, curves),
    )


def _tiles(names: Sequence[str], runs: Sequence[Run]) -> dict[str, str]:
    """The best error of each run."""
    return {
        f"{name}, best error" if len(runs) > 1 else "best error": words.cell(
            "top1_error", None if run.best is None else run.best["val_top1_error"]
        )
        for name, run in zip(names, runs, strict=True)
    }


def _sections(
    names: Sequence[str],
    runs: Sequence[Run],
    evaluations: Mapping[str, Sequence[Evaluation]],
    curves: Sequence[str],
) -> Iterable[str]:
    yield heading("Training")
    if not curves:
        yield paragraph("No epoch has ended yet.")
    for path in curves:
        yield image(path, _CAPTION)
    yield heading("Results")
    yield _side_by_side("", names, results(runs))
    if len(runs) > 1:
        yield heading("What differs")
        yield from _differences(names, runs)
    for name, run in zip(names, runs, strict=True):
        for evaluation in evaluations[run.path]:
            yield from _evaluation(name, evaluation)
    for name, run in zip(names, runs, strict=True):
        yield heading("Settings" if len(runs) == 1 else f"Settings of {name}")
        yield paragraph(shlex.join(run.record.command))
        settings = run.record.config.to_json()
        yield table(
            ("setting", "value"),
            [(words.title(key), words.cell(key, v)) for key, v in settings.items()],
        )


def _differences(names: Sequence[str], runs: Sequence[Run]) -> Iterable[str]:
    found = differences(runs)
    if "settings" not in found:
        yield paragraph("Their settings are the same.")
    for group, fields in found.items():
        yield _side_by_side(group, names, fields)


def _side_by_side(
    title: str, names: Sequence[str], fields: Mapping[str, Sequence[object]]
) -> str:
    rows = [
        (words.title(field), *(words.cell(field, value) for value in values))
        for field, values in fields.items()
    ]
    return table((title, *names), rows, right=1)


def _evaluation(name: str, evaluation: Evaluation) -> Iterable[str]:
    known = evaluation.facts
    yield heading(f"Evaluation of {name} on {known['dataset']}, {known['eval_split']}")
    found = known["calibration"]
    told = {
        "top-1 error": f"{known['top1_error']:.2%}",
        "loss": f"{known['loss']:.4f}",
        "calibration error": _told(found.get("ece"), ".2%"),
        "temperature": _told(found.get("temperature"), ".4f"),
    }
    listed = ", ".join(f"{name} {text}" for name, text in told.items() if text)
    yield paragraph(
        f"{known['examples']:,} examples: {listed}. Everything is in "
        f"{os.path.join(evaluation.folder, PAGE)}."
    )
    for figure, caption in CAPTIONS.items():
        path = os.path.join(evaluation.folder, figure)
        if figure != CURVES and os.path.isfile(path):
            yield image(path, caption)


def _told(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
