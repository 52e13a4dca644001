"""The folder of a report: which one may be written, and what is put into it."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping

from scalenet_tf.files import made_folder
from scalenet_training.bars import Bar
from scalenet_training.evaluate.report import figures, page, tables
from scalenet_training.evaluate.report.content import Content, content_of, facts
from scalenet_training.evaluate.report.facts import (
    CALIBRATION,
    CAPTIONS,
    CONFUSION,
    CURVES,
    ERRORS,
    FACTS,
    PAGE,
)
from scalenet_training.evaluate.report.predictions import Collector
from scalenet_training.runs.figures import plot_curves
from scalenet_training.runs.files import check_replaceable, disk_errors, replaced

_TABLES = {
    "predictions.csv": tables.prediction_rows,
    "classes.csv": tables.class_rows,
    "confusion.csv": tables.confusion_rows,
    "suspects.csv": tables.suspect_rows,
}
FILES = frozenset({PAGE, FACTS, *_TABLES, *CAPTIONS})


def check_folder(path: str) -> None:
    """Checks that a report may be written to a folder; writes nothing.

    Raises:
        UsageError: It is there and neither empty nor an earlier report, or cannot be
            written.
    """
    check_replaceable(path, "report", "report", FACTS, FILES)


def write_report(path: str, collector: Collector, result: Mapping[str, float]) -> str:
    """Writes a report; an earlier one is replaced when the new one is complete.

    Args:
        path: The folder, which `check_folder` lets pass.
        collector: That has observed the evaluation.
        result: What the evaluation gave.

    Returns:
        Path of its page.

    Raises:
        UsageError: The run's metrics.csv is damaged.
        RunError: It cannot be written; what was there before is intact.
    """
    content = content_of(collector, result)
    place = os.path.realpath(path)
    with (
        disk_errors(path),
        made_folder(os.path.dirname(place)),
        replaced(place, with_content=True) as folder,
    ):
        os.mkdir(folder)
        _write(folder, content)
    return os.path.join(path, PAGE)


def _write(folder: str, content: Content) -> None:
    def file(name: str) -> str:
        return os.path.join(folder, name)

    with Bar(total=3, unit="part", desc="writing the report") as bar:
        for name, rows in _TABLES.items():
            _write_rows(file(name), rows(content))
        _write_text(file(FACTS), json.dumps(facts(content), indent=1) + "\n")
        bar.update()
        figures.draw_confusion(
            content.counts, content.order, content.names, file(CONFUSION)
        )
        figures.draw_calibration(content.calibration, file(CALIBRATION))
        if content.pictures:
            figures.draw_errors(content.pictures, file(ERRORS))
        if content.curve.rows:
            label = os.path.basename(os.path.normpath(content.subject.name))
            plot_curves({label: content.curve}, file(CURVES))
        bar.update()
        _write_text(file(PAGE), page.render(content, folder))
        bar.update()


def _write_rows(path: str, rows: Iterable[tables.Row]) -> None:
    # Names of files keep the bytes that they have on disk.
    with open(
        path, "w", newline="", encoding="utf-8", errors="surrogateescape"
    ) as file:
        writer = csv.writer(file)
        writer.writerows([*map(_cell, row)] for row in rows)


def _cell(value: object) -> object:
    return f"{value:.8g}" if isinstance(value, float) else value


def _write_text(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
