"""Evaluation of a model on a split, every example once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from scalenet_training.data.batches import Batch, evaluation_batches
from scalenet_training.data.errors import data_errors
from scalenet_training.data.splits import Split
from scalenet_training.data.transform import Transform
from scalenet_training.devices.placement import Placement, lost_workers
from scalenet_training.errors import RunError
from scalenet_training.train.divergence import check_loss
from scalenet_training.train.interruption import StoppedError, StopRequest
from scalenet_training.train.step import SUMS, make_evaluation_step, means

# Is shown the examples in their order: images as the network takes them, labels, logits
See = Callable[[np.ndarray, np.ndarray, np.ndarray], None]


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
        see: See | None = None,
    ) -> dict[str, float]:
        """Loss and errors; `progress` is called with the number of steps done.

        `see` is shown the examples of this worker.

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
                if see is not None:
                    for part, logits in self._parts(batch, report.logits):
                        show(see, part, logits)
                if progress is not None:
                    progress(done)
        if totals[-1] != self.split.size:
            raise RunError(
                f"evaluated {totals[-1]:.0f} of {self.split.size} examples: the "
                "dataset changed while it was read."
            )
        return means(totals)

    def _parts(self, batch: Any, logits: Any) -> Iterator[tuple[Batch, Any]]:
        """The part of each replica of this worker, and its logits."""
        local = self.placement.strategy.experimental_local_results
        images, labels, weights = map(local, batch)
        yield from zip(zip(images, labels, weights, strict=True), logits, strict=True)


def show(see: See, batch: Batch, logits: Any) -> None:
    """Shows the examples of a batch, without its padding."""
    images, labels, weights = (np.asarray(values) for values in batch)
    real = weights > 0
    see(images[real], labels[real], np.asarray(logits)[real])
