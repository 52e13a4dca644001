"""Settings of an allocation from data. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import os
from typing import Annotated, Any, Literal

from scalenet_training.errors import SettingError
from scalenet_training.networks.targets import parse_target
from scalenet_training.settings.base import (
    NOT_NEGATIVE,
    POSITIVE,
    OptionGroup,
    Settings,
    fields_of,
    suffix,
)
from scalenet_training.settings.inputs import RUN
from scalenet_training.settings.training import TrainConfig


@dataclasses.dataclass(frozen=True)
class SelectionOptions(OptionGroup):
    """Which neurons are kept."""

    target_macs: str = "twin"
    """The most multiply-accumulates of an image of the native size: twin (those of the
    ResNet twin), a ratio of these such as 0.75x, or a number such as 57000000."""

    criterion: Literal["block", "global"] = "block"
    """block: the most important neurons of each block, as published; global: of all
    blocks in one ranking by importance per MAC."""

    minimum: Annotated[int, NOT_NEGATIVE] = 0
    """Least neurons to keep at each scale of a block."""

    align: Annotated[int, POSITIVE] = 1
    """Keep neurons in groups of so many of a scale; 8 or 16 fill the vectors of a
    processor."""


@dataclasses.dataclass(frozen=True)
class LatencyOptions(OptionGroup):
    """A time in place of MACs, as it is measured on this machine."""

    target_latency: str | None = None
    """The most time of a batch: twin (that of the ResNet twin), a ratio of it such as
    0.9x, or milliseconds such as 12.5. Neurons of all blocks compete by importance per
    millisecond. In place of --target-macs."""

    runtime: Literal["savedmodel", "tflite", "onnx", "openvino"] = "savedmodel"
    """What runs the network."""

    latency_batch_size: Annotated[int, POSITIVE] = 1
    """Images of a batch."""

    threads: Annotated[int | None, POSITIVE] = None
    """Threads of the runtime, and of TensorFlow in this command. Default: the cores."""

    latency_rounds: Annotated[int, POSITIVE] = 15
    """Times that each network runs at least, the result three times as often: a fast
    one runs for a second, with the one that it is compared with. Medians count."""

    cost_table: Annotated[str | None, suffix(".json")] = None
    """File of what the branches take: read where it exists, else measured and
    written. Default: costs-<runtime>-<batch size>.json in the folder of the seed
    network's run."""


@dataclasses.dataclass(frozen=True)
class AllocationOptions(OptionGroup):
    """What is read and written."""

    seed_run: Annotated[str | None, RUN] = None
    """Folder of a finished run of a seed network ('train.py --model seed:NAME').
    Nothing is trained then: the options of the training have no effect."""

    compare_with: Annotated[str | None, RUN] = None
    """Folder of another finished run of the same seed network, of another --seed: adds
    the rank correlation of the two importances, which says how far the ranking can be
    trusted."""

    output: Annotated[str | None, suffix(".json")] = None
    """The JSON file to write; the chart is beside it, as PNG. Default:
    allocation.json in the folder of the seed network's run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AllocateConfig(AllocationOptions, LatencyOptions, SelectionOptions, Settings):
    """The seed network's training, and what to make of it.

    Attributes:
        train: How the seed network is trained; its `model` is the network to allocate
            for.
    """

    train: TrainConfig

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_target(self.target_macs)
        if self.target_latency is None:
            for field in dataclasses.fields(LatencyOptions):
                value = getattr(self, field.name)
                if value != field.default:
                    raise SettingError(
                        f"`{field.name}` must stand with `target_latency`. "
                        f"Received: {value!r} alone."
                    )
        if self.target_latency is not None:
            parse_target(self.target_latency, "`target_latency`", "ms")
            if self.target_macs != "twin" or self.criterion != "block":
                raise SettingError(
                    "`target_latency` must stand without `target_macs` and "
                    f"`criterion`. Received: {self.target_latency!r} with "
                    f"{self.target_macs!r} and {self.criterion!r}."
                )

    @property
    def seed_config(self) -> TrainConfig:
        """The settings of the seed network's run."""
        model = self.train.model
        return dataclasses.replace(
            self.train,
            model=model if model.startswith("seed:") else f"seed:{model}",
        )

    @property
    def seed_folder(self) -> str:
        """Folder of the seed network's run."""
        return self.seed_run or self.seed_config.run_folder

    @property
    def output_file(self) -> str:
        """`output`, or its default."""
        return self.output or os.path.join(self.seed_folder, "allocation.json")

    @property
    def cost_file(self) -> str:
        """`cost_table`, or its default."""
        name = f"costs-{self.runtime}-{self.latency_batch_size}.json"
        return self.cost_table or os.path.join(self.seed_folder, name)

    def selection(self) -> dict[str, Any]:
        """What, beside the seed network, decides the result."""
        names = fields_of(SelectionOptions)
        if self.target_latency is not None:
            names += [n for n in fields_of(LatencyOptions) if n != "cost_table"]
        return {name: getattr(self, name) for name in names}
