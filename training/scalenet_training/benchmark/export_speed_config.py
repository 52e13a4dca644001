"""Settings of the measurement of exported formats. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
from typing import Literal

import tyro

from scalenet_training.errors import UsageError
from scalenet_training.settings import Settings


@dataclasses.dataclass(frozen=True)
class ExportSpeedConfig(Settings):
    """Exports a network in every format and times them in turns.

    On noise, with all cores, in a temporary folder. A TFLite file takes one image at a
    time: a batch of 16 is 16 runs of it.
    """

    run_or_model: tyro.conf.Positional[str]
    """Folder of a run, or a .keras file."""

    saved: Literal["best", "last"] = "best"
    """Of a run: the model with the lowest validation error, or the last."""

    image_size: int | None = None
    """Side of the images, for a model that takes any size. Default: the run's."""

    batch_sizes: tuple[int, ...] = (1, 16)
    """Images of a batch, one measurement each."""

    rounds: int = 20
    """Times that each format runs; medians are reported."""

    output: str | None = None
    """A .csv file to write the table to as well."""

    def check(self) -> None:
        """Checks what can be checked before anything is loaded.

        Raises:
            UsageError: A setting is not allowed.
        """
        if self.rounds < 1:
            raise UsageError(f"--rounds must be at least 1. Received: {self.rounds}.")
        if not self.batch_sizes or min(self.batch_sizes) < 1:
            raise UsageError(
                "--batch-sizes must be positive numbers, one or more. "
                f"Received: {list(self.batch_sizes)}."
            )
        if self.output is not None and not self.output.endswith(".csv"):
            raise UsageError(f"--output must end in .csv. Received: {self.output!r}.")
