"""The tables of a report, as rows; None is an empty cell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from scalenet_training.evaluate.report.content import Content

Row = Sequence[Any]


def prediction_rows(content: Content) -> Iterator[Row]:
    """A row for each example."""
    yield "example", *_ANSWER
    for number, name in enumerate(content.examples):
        yield name, *_answer(content, number)


def class_rows(content: Content) -> Iterator[Row]:
    """A row for each class; empty where a figure is undefined."""
    yield "class", "name", "precision", "recall", "f1", "support"
    figures = content.classes
    for number, name in enumerate(content.names):
        values = (figures.precision, figures.recall, figures.f1)
        told = (float(value[number]) for value in values)
        defined = (None if math.isnan(value) else value for value in told)
        yield number, name, *defined, int(figures.support[number])


def confusion_rows(content: Content) -> Iterator[Row]:
    """A row for each given class, a column for each predicted one."""
    yield "true class", *(content.names[number] for number in content.order)
    for row in content.order:
        counts = content.counts[row, content.order].tolist()
        yield content.names[row], *counts


def suspect_rows(content: Content) -> Iterator[Row]:
    """A row for each suspect."""
    yield "example", "reason", *_ANSWER, "threshold", "equal_to"
    for number, reason, threshold, equal_to in content.suspects:
        yield (
            content.examples[number],
            reason,
            *_answer(content, number),
            threshold,
            None if equal_to is None else content.examples[equal_to],
        )


_ANSWER = (
    *("true_class", "true_name", "predicted_class", "predicted_name"),
    *("predicted_probability", "true_probability"),
)


def _answer(content: Content, number: int) -> Iterable[Any]:
    found = content.predictions
    for label in (found.labels[number], found.predicted[number]):
        yield from (int(label), content.names[label])
    for probability in (found.probability[number], found.true_probability[number]):
        yield float(probability)
