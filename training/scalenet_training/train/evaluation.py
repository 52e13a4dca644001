"""Evaluation of a model on a split, every example once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from scalenet_training.data.batches import evaluation_batches
from scalenet_training.data.errors import data_errors
from scalenet_training.data.splits import Split
from scalenet_training.data.transform import Transform
from scalenet_training.devices.placement import Placement, lost_workers
from scalenet_training.errors import RunError
from scalenet_training.train.divergence import check_loss
from scalenet_training.train.interruption import StoppedError, StopRequest
from scalenet_training.train.step import SUMS, make_evaluation_step, means


class Evaluator:
    """Evaluates a model on every example of a split exactly once.

    Args:
        model: The network.
        split: The examples.
        transform: From stored images to the network's input.
        batch_size: Global batch.
        placement: Where the replicas are.
        xla: Whether a replica's forward pass is compiled.
        network: Name of the model in messages.
    """

    def __init__(
        self,
        model: keras.Model,
        split: Split,
        transform: Transform,
        batch_size: int,
        placement: Placement,
        xla: bool,
        network: str = "the network",
    ):
        self.split = split
        self.classes = transform.classes
        self.network = network
        self.placement = placement
        self.batches = evaluation_batches(split, transform, batch_size)
        self.step = make_evaluation_step(model, placement.strategy, xla)
        self.steps = -(-split.size // batch_size)

    def run(
        self,
        progress: Callable[[int], Any] | None = None,
        stop: StopRequest | None = None,
    ) -> dict[str, float]:
        """Loss and errors; `progress` is called with the number of steps done.

        Raises:
            StoppedError: Some worker was asked to stop.
            RunError: An example cannot be read.
            NotFiniteError: The loss is NaN or infinite.
        """
        totals = np.zeros(SUMS)
        batches = self.placement.strategy.distribute_datasets_from_function(
            self.batches
        )
        with data_errors(self.split), lost_workers(self.placement):
            for done, batch in enumerate(batches, start=1):
                report = self.step(batch, stop is not None and stop.came)
                if report.stops.numpy() > 0:
                    raise StoppedError
                totals += report.sums.numpy()
                check_loss(means(totals), self.network)
                if progress is not None:
                    progress(done)
        if totals[-1] != self.split.size:
            raise RunError(
                f"evaluated {totals[-1]:.0f} of {self.split.size} examples: the "
                "dataset changed while it was read."
            )
        return means(totals)
