"""report.html: one page with everything in it, which loads nothing.

What others have named (classes, files, folders) passes `_text`, and nothing else does
what comes into the page.
"""

from __future__ import annotations

import base64
import html
import importlib.resources
import os
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scalenet_training.evaluate.report import tables
from scalenet_training.evaluate.report.confusion import most_confused
from scalenet_training.evaluate.report.content import Content, facts
from scalenet_training.evaluate.report.suspects import LABEL
from scalenet_training.text import printable

CONFUSION, CALIBRATION = "confusion.png", "calibration.png"
ERRORS, CURVES = "errors.png", "curves.png"
_MOST_PAIRS = 20
_MOST_SUSPECTS = 100


def render(content: Content, folder: str) -> str:
    """The page.

    Args:
        content: What it says.
        folder: Where the pictures are that it carries.
    """
    template = importlib.resources.files(__package__).joinpath("page.html")
    known = facts(content)
    return string.Template(template.read_text(encoding="utf-8")).substitute(
        title=_text(f"Evaluation of {content.subject.name}"),
        facts=_text(
            "Dataset {dataset}, split {eval_split}: {examples:,} examples, {classes:,} "
            "classes. {created}, scalenet_tf {version}.".format(
                **known, version=known["versions"]["scalenet_tf"]
            )
        ),
        figures="\n".join(_figures(known)),
        sections="\n".join(_sections(content, folder)),
    )


def _figures(known: Mapping[str, Any]) -> Iterable[str]:
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
    told |= {name: f"{v:.4f}" for name, v in numbers.items() if v is not None}
    for name, text in told.items():
        yield f"<div><dt>{name}</dt><dd>{text}</dd></div>"


def _sections(content: Content, folder: str) -> Iterable[str]:
    if content.curves:
        yield "<h2>Training</h2>"
        yield _image(folder, CURVES, "Top-1 errors of the run over its epochs.")
    yield "<h2>Worst errors</h2>"
    yield from _errors(content, folder)
    yield "<h2>Confusions</h2>"
    yield from _confusions(content, folder)
    yield "<h2>Calibration</h2>"
    yield from _calibration(content, folder)
    yield "<h2>Examples to look at</h2>"
    yield from _suspects(content)
    yield "<h2>Classes</h2>"
    header, *rows = tables.class_rows(content)
    yield _table(header, rows)


def _errors(content: Content, folder: str) -> Iterable[str]:
    if not content.pictures:
        yield "<p>There are none: every answer is right.</p>"
        return
    caption = "Wrong answers with the highest probability: the given class, what it "
    caption += "was taken for, and the probability of that."
    if content.pictures[0].evidence is not None:
        caption += " Beside each picture, where the evidence for the wrong class is "
        caption += "(Grad-CAM), in red."
    yield _image(folder, ERRORS, caption)
    yield _table(
        ("example", "true class", "predicted class", "probability"),
        [(p.example, p.true, p.predicted, p.probability) for p in content.pictures],
    )


def _confusions(content: Content, folder: str) -> Iterable[str]:
    caption = "Classes that are taken for each other are neighbours. Right answers are "
    caption += "grey, wrong ones red. Counts are in confusion.csv."
    yield _image(folder, CONFUSION, caption)
    pairs = most_confused(content.counts, _MOST_PAIRS)
    if pairs:
        yield _table(
            ("true class", "taken for", "examples", "share of the class"),
            [
                (content.names[true], content.names[predicted], count, rate)
                for true, predicted, count, rate in pairs
            ],
        )


def _calibration(content: Content, folder: str) -> Iterable[str]:
    found = content.calibration
    text = f"The expected calibration error is {found.before.ece:.2%}. "
    if found.after is None:
        text += "No temperature fits these examples best, as where all answers are "
        text += "right."
    else:
        text += f"With logits divided by {found.temperature:.4f} it is "
        text += f"{found.after.ece:.2%}. This temperature was fitted to these same "
        text += "examples: one to be used must be fitted to validation data, and its "
        text += "error measured on others."
    yield f"<p>{_text(text)}</p>"
    caption = "Accuracy by the probability of the predicted class; below, how many "
    caption += "examples have such a probability."
    yield _image(folder, CALIBRATION, caption)


def _suspects(content: Content) -> Iterable[str]:
    labels = sum(suspect.reason == LABEL for suspect in content.suspects)
    pictures = len(content.suspects) - labels
    yield (
        f"<p>{labels:,} labels that the model contradicts with more than its usual "
        f"confidence in the other class; {pictures:,} pictures that are equal to an "
        "earlier one. All are in suspects.csv.</p>"
    )
    header, *rows = tables.suspect_rows(content)
    if rows:
        yield _table(header, rows[:_MOST_SUSPECTS])


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; columns of numbers are set to the right."""
    numeric = [
        any(isinstance(cell, int | float) for cell in column)
        for column in zip(*rows, strict=True)
    ]
    words = [name.replace("_", " ") for name in header]
    lines = [_row("th", words, numeric), *(_row("td", row, numeric) for row in rows)]
    return f'<div class="table"><table>\n{"".join(lines)}</table></div>'


def _row(tag: str, cells: Sequence[Any], numeric: Sequence[bool]) -> str:
    parts = (
        f"<{tag}{' class=number' if right else ''}>{_text(_cell(cell))}</{tag}>"
        for cell, right in zip(cells, numeric, strict=True)
    )
    return f"<tr>{''.join(parts)}</tr>\n"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _image(folder: str, name: str, caption: str) -> str:
    with open(os.path.join(folder, name), "rb") as file:
        data = base64.b64encode(file.read()).decode("ascii")
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{_text(caption)}">'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def _text(text: str) -> str:
    return html.escape(printable(text))
