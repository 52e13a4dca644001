"""Evaluation of a model on a split, every example once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from scalenet_training.errors import RunError
from scalenet_training.pipeline import Transform, evaluation_batches
from scalenet_training.splits import Split, find_damaged_image
from scalenet_training.step import SUMS, make_evaluation_step, means


class Evaluator:
    """Evaluates a model on every example of a split exactly once."""

    def __init__(
        self,
        model: keras.Model,
        split: Split,
        transform: Transform,
        batch_size: int,
        strategy: tf.distribute.Strategy,
        xla: bool,
    ):
        self.split = split
        self.strategy = strategy
        self.batches = evaluation_batches(split, transform, batch_size)
        self.step = make_evaluation_step(model, strategy, xla)
        self.steps = -(-split.size // batch_size)

    def run(self, progress: Callable[[int], Any] | None = None) -> dict[str, float]:
        """Loss and errors; `progress` is called with the number of steps done."""
        totals = np.zeros(SUMS)
        batches = self.strategy.distribute_datasets_from_function(self.batches)
        with data_errors(self.split):
            for done, batch in enumerate(batches, start=1):
                totals += self.step(batch).numpy()
                if progress is not None:
                    progress(done)
        if totals[-1] != self.split.size:
            raise RunError(
                f"evaluated {totals[-1]:.0f} of {self.split.size} examples: the "
                "dataset changed while it was read."
            )
        return means(totals)


@contextlib.contextmanager
def data_errors(split: Split) -> Iterator[None]:
    """Turns errors of the input pipeline into a RunError that names the example."""
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
        if "labels must be from" in error.message:
            text = error.message[error.message.index("labels must be") :]
            raise RunError(f"--dataset: {text.splitlines()[0]}") from error
        damaged = find_damaged_image(split)
        if damaged is None:
            raise
        raise RunError(
            f"--dataset: an image cannot be decoded: {damaged}. Replace or remove it."
        ) from error
