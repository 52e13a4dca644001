"""Settings of a profile. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import os
from typing import Annotated, Literal

import tyro

from scalenet_training.errors import UsageError
from scalenet_training.settings.base import POSITIVE, Settings, suffix


@dataclasses.dataclass(frozen=True)
class ProfileConfig(Settings):
    """Where the time of a step, or of inference, goes: operations by their time.

    By TensorFlow's profiler, on noise, with random weights and statistics.
    """

    network: tyro.conf.Positional[str] = "ScaleNetCifar38"
    """As of `benchmark models`."""

    work: Literal["inference", "step"] = "step"
    """inference: of a batch; step: of training, both passes and the update."""

    batch_size: Annotated[int, POSITIVE] = 128
    """Images of a batch."""

    image_size: int | None = None
    """Side of the images. Default: the network's native size, 224 for the others."""

    classes: Annotated[int, POSITIVE] = 10
    """Classes of the last layer."""

    mixed_precision: Literal["off", "bfloat16"] = "off"
    """Compute in 16 bits, keep weights in float32."""

    calls: Annotated[int, POSITIVE] = 10
    """Steps, or batches, that are profiled."""

    top: Annotated[int, POSITIVE] = 20
    """Rows of the table."""

    by: Literal["type", "name"] = "type"
    """One row for each type of operation, or for each operation."""

    output: Annotated[str | None, suffix(".csv")] = None
    """A .csv file to write all rows to as well."""

    def check(self) -> None:
        """Checks what can be checked before anything is built.

        Raises:
            UsageError: A setting is not allowed.
        """
        folder = os.path.dirname(self.output or "")
        if folder and not os.path.isdir(folder):
            raise UsageError(f"`output`: there is no folder {folder!r}.")
