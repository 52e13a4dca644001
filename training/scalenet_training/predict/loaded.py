"""A model that stays loaded: a path a line comes in, an answer a line goes out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import BinaryIO

from scalenet_training.cli.patience import waiting
from scalenet_training.predict.answers import as_line
from scalenet_training.predict.config import PredictConfig
from scalenet_training.predict.images import ImageFile
from scalenet_training.predict.prediction import answered
from scalenet_training.predict.predictors import Predictor

_BYTES = 2**16  # that are read at a time, at most


def answer_lines(predictor: Predictor, config: PredictConfig) -> int:
    """Answers each line of standard input by a line of JSON, until the input ends.

    Lines that wait are computed together, `batch_size` at most.

    Returns:
        How many of the answers are errors.

    Raises:
        UsageError, RunError: As for `prediction.answered`.
    """
    errors = 0
    for lines in _waiting_lines(sys.stdin.buffer):
        for start in range(0, len(lines), config.batch_size):
            paths = lines[start : start + config.batch_size]
            files = [ImageFile(path) for path in paths]
            for answer in answered(files, predictor, config):
                errors += not answer.prediction.valid
                print(as_line(answer))
            sys.stdout.flush()
    return errors


def _waiting_lines(stream: BinaryIO) -> Iterator[list[str]]:
    """All lines that are there, each time that there are some."""
    rest = b""
    while True:
        with waiting():
            read = stream.read1(_BYTES)  # type: ignore[attr-defined]
        *lines, rest = (rest + read).split(b"\n")
        if not read and rest:
            lines, rest = [rest], b""
        if lines:
            yield [os.fsdecode(line.removesuffix(b"\r")) for line in lines]
        if not read:
            return
