"""Settings of the comparison of networks. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import os
from typing import Annotated, Literal

import tyro

from scalenet_training.errors import UsageError
from scalenet_training.settings.base import Settings, suffix

Work = Literal["inference", "step"]


@dataclasses.dataclass(frozen=True)
class ModelsConfig(Settings):
    """Times networks in turns, on noise, with random weights and statistics.

    Ratios are to the first of them. Memory and the time of the first call are those of
    a process of their own.
    """

    networks: tyro.conf.Positional[tuple[str, ...]] = ("ResNet50", "ScaleNet50")
    """Public names (see scalenet_tf.list_models), architectures' JSON files, or
    KerasResNet50, SEResNet50, ResNeXt50."""

    work: Work = "inference"
    """inference: of a batch; step: of training, both passes and the update."""

    formats: tuple[str, ...] = ()
    """Also inference of these export formats: savedmodel, tflite, onnx, openvino."""

    batch_sizes: tuple[int, ...] = (1, 16)
    """Images of a batch, one measurement each."""

    image_size: int | None = None
    """Side of the images. Default: the network's native size, 224 for the others."""

    classes: int = 1000
    """Classes of the last layer."""

    mixed_precision: Literal["off", "bfloat16"] = "off"
    """Compute in 16 bits, keep weights in float32."""

    jit: bool = False
    """Compile with XLA."""

    rounds: int = 20
    """Times that each network runs; medians are reported."""

    output: Annotated[str | None, suffix(".csv")] = None
    """A .csv file to write the table to as well."""

    plot: Annotated[str | None, suffix(".png")] = None
    """A .png file for a figure of time against MACs."""

    def check(self) -> None:
        """Checks what can be checked before anything is built.

        Raises:
            UsageError: A setting is not allowed.
        """
        if self.rounds < 1:
            raise UsageError(f"`rounds` must be at least 1. Received: {self.rounds}.")
        if not self.networks:
            raise UsageError("`networks` must be one or more. Received: none.")
        if not self.batch_sizes or min(self.batch_sizes) < 1:
            raise UsageError(
                "`batch_sizes` must be positive numbers, one or more. "
                f"Received: {list(self.batch_sizes)}."
            )
        if self.formats and (self.work == "step" or self.mixed_precision != "off"):
            raise UsageError(
                "`formats` are for `work` inference without `mixed_precision`. "
                f"Received: work={self.work!r}, "
                f"mixed_precision={self.mixed_precision!r}."
            )
        for name in ("output", "plot"):
            folder = os.path.dirname(getattr(self, name) or "")
            if folder and not os.path.isdir(folder):
                raise UsageError(f"`{name}`: there is no folder {folder!r}.")
