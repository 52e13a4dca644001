"""report.html: what an evaluation has found, on one page."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from scalenet_training.evaluate.report import tables
from scalenet_training.evaluate.report.confusion import most_confused
from scalenet_training.evaluate.report.content import Content, facts
from scalenet_training.evaluate.report.facts import (
    CALIBRATION,
    CAPTIONS,
    CONFUSION,
    CURVES,
    ERRORS,
)
from scalenet_training.evaluate.report.suspects import LABEL
from scalenet_training.pages.page import heading, image, paragraph, table
from scalenet_training.pages.page import render as render_page

_MOST_PAIRS = 20
_MOST_SUSPECTS = 100


def render(content: Content, folder: str) -> str:
    """The page.

    Args:
        content: What it says.
        folder: Where the pictures are that it carries.
    """
    known = facts(content)
    return render_page(
        title=f"Evaluation of {content.subject.name}",
        facts=(
            "Dataset {dataset}, split {eval_split}: {examples:,} examples, {classes:,} "
            "classes. {created}, scalenet_tf {version}.".format(
                **known, version=known["versions"]["scalenet_tf"]
            )
        ),
        figures=_figures(known),
        sections=_sections(content, folder),
    )


def _figures(known: Mapping[str, Any]) -> dict[str, str]:
    found, macro = known["calibration"], known["macro"]
    shares = {
        "accuracy": known["accuracy"],
        "top-1 error": known["top1_error"],
        "top-5 error": known.get("top5_error"),
        "macro precision": macro["precision"],
        "macro recall": macro["recall"],
        "macro F1": macro["f1"],
        "calibration error": found["ece"],
        "calibration error at the temperature": found["ece_at_temperature"],
    }
    numbers = {"loss": known["loss"], "temperature": found["temperature"]}
    told = {name: f"{value:.2%}" for name, value in shares.items() if value is not None}
    return told | {n: f"{v:.4f}" for n, v in numbers.items() if v is not None}


def _sections(content: Content, folder: str) -> Iterable[str]:
    if content.curve.rows:
        yield heading("Training")
        yield _figure(folder, CURVES)
    yield heading("Worst errors")
    yield from _errors(content, folder)
    yield heading("Confusions")
    yield from _confusions(content, folder)
    yield heading("Calibration")
    yield from _calibration(content, folder)
    yield heading("Examples to look at")
    yield from _suspects(content)
    yield heading("Classes")
    header, *rows = tables.class_rows(content)
    yield table(header, rows)


def _figure(folder: str, name: str, more: str = "") -> str:
    return image(os.path.join(folder, name), CAPTIONS[name] + more)


def _errors(content: Content, folder: str) -> Iterable[str]:
    if not content.pictures:
        yield paragraph("There are none: every answer is right.")
        return
    more = ""
    if content.pictures[0].evidence is not None:
        more = " Beside each picture, where the evidence for the wrong class is "
        more += "(Grad-CAM), in red."
    yield _figure(folder, ERRORS, more)
    yield table(
        ("example", "true class", "predicted class", "probability"),
        [(p.example, p.true, p.predicted, p.probability) for p in content.pictures],
    )


def _confusions(content: Content, folder: str) -> Iterable[str]:
    yield _figure(folder, CONFUSION, " Counts are in confusion.csv.")
    pairs = most_confused(content.counts, _MOST_PAIRS)
    if pairs:
        yield table(
            ("true class", "taken for", "examples", "share of the class"),
            [
                (content.names[true], content.names[predicted], count, rate)
                for true, predicted, count, rate in pairs
            ],
        )


def _calibration(content: Content, folder: str) -> Iterable[str]:
    found = content.calibration
    text = ""
    if content.subject.temperature != 1:
        text += f"The model divides its logits by {content.subject.temperature:.4f}, "
        text += "and its probabilities are shown so. "
    text += f"The expected calibration error is {found.before.ece:.2%}. "
    if found.after is None:
        text += "No temperature fits these examples best, as where all answers are "
        text += "right."
    else:
        further = "further " if content.subject.temperature != 1 else ""
        text += f"With logits {further}divided by {found.temperature:.4f} it is "
        text += f"{found.after.ece:.2%}. This temperature was fitted to these same "
        text += "examples: one to be used must be fitted to validation data, and its "
        text += "error measured on others."
    yield paragraph(text)
    yield _figure(folder, CALIBRATION)


def _suspects(content: Content) -> Iterable[str]:
    labels = sum(suspect.reason == LABEL for suspect in content.suspects)
    pictures = len(content.suspects) - labels
    yield paragraph(
        f"{labels:,} labels that the model contradicts with more than its usual "
        f"confidence in the other class; {pictures:,} pictures that are equal to an "
        "earlier one. All are in suspects.csv."
    )
    header, *rows = tables.suspect_rows(content)
    if rows:
        yield table(header, rows[:_MOST_SUSPECTS])
