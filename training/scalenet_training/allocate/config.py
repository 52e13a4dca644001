"""Settings of an allocation from data. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Literal

import tyro

from scalenet_training.networks.targets import parse_target
from scalenet_training.settings import Settings
from scalenet_training.train.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class AllocateConfig(Settings):
    """The seed network's training, and what to make of it."""

    train: tyro.conf.OmitArgPrefixes[TrainConfig]
    """How the seed network is trained; its --model is the network to allocate for."""

    target_macs: str = "twin"
    """The most multiply-accumulates of an image of the native size: twin (those of the
    ResNet twin), a ratio of these such as 0.75x, or a number such as 57000000."""

    criterion: Literal["block", "global"] = "block"
    """block: the most important neurons of each block, as published; global: of all
    blocks in one ranking by importance per MAC."""

    minimum: int = 0
    """Least neurons to keep at each scale of a block."""

    seed_run: str | None = None
    """Folder of a finished run of a seed network ('train.py --model seed:NAME').
    Nothing is trained then: the options of the training have no effect."""

    compare_with: str | None = None
    """Folder of another finished run of the same seed network, of another --seed: adds
    the rank correlation of the two importances, which says how far the ranking can be
    trusted."""

    output: str | None = None
    """The JSON file to write; the chart is beside it, as PNG. Default:
    allocation.json in the folder of the seed network's run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_target(self.target_macs)
        if self.minimum < 0:
            raise ValueError(f"--minimum must be 0 or more. Received: {self.minimum}.")
        if self.output is not None and not self.output.endswith(".json"):
            raise ValueError(f"--output must end in .json. Received: {self.output!r}.")

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

    def selection(self) -> dict[str, Any]:
        """What, beside the seed network, decides the result."""
        names = ("target_macs", "criterion", "minimum")
        return {name: getattr(self, name) for name in names}
