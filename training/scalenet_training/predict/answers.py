"""What is known of an image in the end, and the forms in which it is given.

Imports no TensorFlow.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TextIO

from scalenet_tf.serving.messages import INVALID, Prediction
from scalenet_training.predict.config import STREAM
from scalenet_training.runs.files import written
from scalenet_training.text import printable


@dataclasses.dataclass(frozen=True)
class Answer:
    """What is known of an image.

    Attributes:
        file: Its path.
        prediction: The likeliest classes; not `valid` for what is no image or cannot
            be read.
        error: Why not.
        true: The class that its folder has the name of.
    """

    file: str
    prediction: Prediction = INVALID
    error: str | None = None
    true: str | None = None

    @property
    def ranked(self) -> list[tuple[int, str, float]]:
        """Number, name and probability of classes, from the likeliest down."""
        one = self.prediction
        return list(zip(one.classes, one.names, one.probabilities, strict=True))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        known: dict[str, Any] = {"file": self.file, "valid": self.prediction.valid}
        if self.error is not None:
            known["error"] = self.error
        if self.true is not None:
            known["true_name"] = self.true
        known["predictions"] = [
            {"class": number, "name": name, "probability": probability}
            for number, name, probability in self.ranked
        ]
        return known


def as_line(answer: Answer) -> str:
    """One line of JSON, in ASCII."""
    return json.dumps(answer.to_json())


class Writer(Protocol):
    """Takes one answer after the other."""

    def __call__(self, answer: Answer, /) -> None:
        """Writes an answer."""


@contextlib.contextmanager
def opened_lines(path: str) -> Iterator[Writer]:
    """A file of JSON lines, which appears whole; or standard output, line by line."""
    with _opened(path) as file:
        yield lambda answer: print(as_line(answer), file=file, flush=file is sys.stdout)


@contextlib.contextmanager
def opened_table(path: str, top_k: int) -> Iterator[Writer]:
    """A CSV file of one row per image, which appears whole; or standard output.

    Columns: `file`, `error`, `true_name`, and for each rank from 1 to `top_k`
    `class_RANK`, `name_RANK` and `probability_RANK`. What is not known is empty.
    """
    columns = ["file", "error", "true_name"]
    for rank in range(1, top_k + 1):
        columns += [f"class_{rank}", f"name_{rank}", f"probability_{rank}"]
    with _opened(path) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)

        def write(answer: Answer) -> None:
            values: list[Any] = [answer.file, answer.error, answer.true]
            for ranked in answer.ranked:
                values += ranked
            table.writerow(values + [None] * (len(columns) - len(values)))
            if file is sys.stdout:
                file.flush()

        yield write


def _opened(path: str) -> contextlib.AbstractContextManager[TextIO]:
    return contextlib.nullcontext(sys.stdout) if path == STREAM else written(path)


def as_table(answers: Iterable[Answer]) -> str:
    """The answers as lines: file, rank, name, probability."""
    rows = [("file", "rank", "name", "probability")]
    for answer in answers:
        for rank, (_, name, probability) in enumerate(answer.ranked, start=1):
            cells = printable(answer.file), str(rank), printable(name)
            rows.append((*cells, f"{probability:.6f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{path:<{widths[0]}}  {rank:>4}  {name:<{widths[2]}}  {probability}".rstrip()
        for path, rank, name, probability in rows
    )


def as_json(answers: Iterable[Answer]) -> str:
    """The answers as a list with an object a file."""
    return json.dumps([answer.to_json() for answer in answers], indent=1)
