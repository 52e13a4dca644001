"""The last lines of a training: its best and its last epoch, and what to do next."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping

from scalenet_training.invocation import as_word, typed_as
from scalenet_training.runs.metrics import errors_in_words, interval_in_words
from scalenet_training.runs.run_folder import RunFolder


def describe_end(folder: RunFolder) -> str:
    """The lines for a run that has finished one epoch or more."""
    last, best = folder.rows()[-1], folder.best_row()
    record = folder.read_record()
    classes, examples = len(record.class_names), record.evaluation_examples
    interval = interval_in_words(best["val_top1_error"], examples)
    commands = "\n".join(f"  {shlex.join(command)}" for command in _next(folder.path))
    lines = [
        f"best epoch:  {_errors(best, classes)}",
        *([f"             {interval}"] if interval else []),
        f"last epoch:  {_errors(last, classes)}",
        f"run folder:  {folder.path}",
        f"Next, with the best epoch's weights:\n{commands}",
    ]
    return "\n".join(lines)


def model_name(folder: str) -> str:
    """A name for the model of a run: that of its folder, as exports may be called."""
    name = os.path.basename(os.path.abspath(folder))
    return re.sub("[^A-Za-z0-9_.+-]", "-", name).lstrip(".+-") or "model"


def _errors(row: Mapping[str, float], classes: int) -> str:
    errors = errors_in_words(row, classes, "val_")
    return f"{row['epoch'] + 1}, validation: {errors}, loss {row['val_loss']:.4f}"


def _next(folder: str) -> list[list[str]]:
    """Commands that take a run's folder, called as this one was."""
    run = as_word(folder)
    return [
        typed_as("evaluate", [run, "--report", os.path.join(run, "report")]),
        typed_as("export", [run, "--name", model_name(folder)]),
        typed_as("predict", ["IMAGE", "--model", run]),
    ]
