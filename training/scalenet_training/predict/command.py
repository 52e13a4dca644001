"""Classifies images by a run, a saved model, an export, or a model that is served."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scalenet_training.cli.running import parse
from scalenet_training.errors import RunError
from scalenet_training.predict.config import STREAM, PredictConfig
from scalenet_training.text import printable

if TYPE_CHECKING:
    from scalenet_training.predict.prediction import Summary

SETTINGS = (PredictConfig,)


def main(arguments: Sequence[str], program: str) -> None:
    """Runs the command line."""
    config = parse(PredictConfig, __doc__, arguments, program)
    if STREAM in config.images:
        _answer_lines(config)
    else:
        _predict(config)


def _answer_lines(config: PredictConfig) -> None:
    from scalenet_training.predict.loaded import answer_lines
    from scalenet_training.predict.predictors import open_predictor

    with open_predictor(config) as predictor:
        errors = answer_lines(predictor, config)
    if errors:
        lines = "1 line was" if errors == 1 else f"{errors:,} lines were"
        raise RunError(f"{lines} answered with an error.")


def _predict(config: PredictConfig) -> None:
    from scalenet_training.predict import answers as forms
    from scalenet_training.predict.images import image_files
    from scalenet_training.predict.prediction import Summary, answers
    from scalenet_training.predict.predictors import open_predictor

    files = image_files(config.images)
    shown: list[forms.Answer] = []
    show = config.json or not (config.csv or config.jsonl)
    with contextlib.ExitStack() as stack:
        predictor = stack.enter_context(open_predictor(config))
        writers: list[forms.Writer] = [shown.append] if show else []
        if config.csv is not None:
            table = forms.opened_table(config.csv, config.top_k)
            writers.append(stack.enter_context(table))
        if config.jsonl is not None:
            writers.append(stack.enter_context(forms.opened_lines(config.jsonl)))
        summary = Summary()
        for answer in answers(files, predictor, config):
            summary.add(answer)
            for write in writers:
                write(answer)
    if show:
        print(forms.as_json(shown) if config.json else forms.as_table(shown))
    _tell(config, summary)
    if summary.undecodable:
        raise RunError(f"cannot be decoded: {', '.join(summary.undecodable)}.")


def _tell(config: PredictConfig, summary: Summary) -> None:
    """Says on stderr how it went: the table, JSON and CSV have stdout to themselves."""
    written = [
        file for file in (config.csv, config.jsonl) if file not in (None, STREAM)
    ]
    lines = [summary.accuracy(config.top_k), *written, summary.speed()]
    for line in filter(None, lines):
        print(printable(line), file=sys.stderr)
