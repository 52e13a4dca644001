"""Settings of a study's command. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import os
from typing import Annotated

import tyro

from scalenet_training.settings.base import Settings, suffix
from scalenet_training.settings.inputs import FILE, FOLDER


@dataclasses.dataclass(frozen=True)
class StudyConfig(Settings):
    """Which study, and what of it to do."""

    file: Annotated[tyro.conf.Positional[str], suffix(".toml"), FILE]
    """The study's TOML file (docs/studies.md); results are written beside it."""

    workdir: str | None = None
    """Folder of the runs. Machines that share it share the work. Default:
    runs/<name of the file's folder>."""

    data_dir: Annotated[str | None, FOLDER] = None
    """Folder of TensorFlow Datasets. Default: ~/tensorflow_datasets."""

    arms: tuple[str, ...] = ()
    """Train these alone, and the seed networks that they need. Default: all."""

    seeds: tuple[int, ...] = ()
    """Train these alone. Default: all."""

    report: bool = False
    """Train nothing: collect what has ended, and write the report."""

    check: bool = False
    """Train and write nothing: compare report.md with what results.csv gives; exit
    code 1 where they differ."""

    def chooses(self, arm: str, seed: int) -> bool:
        """Whether `arms` and `seeds` leave a run in."""
        in_arms = not self.arms or arm in self.arms
        return in_arms and (not self.seeds or seed in self.seeds)

    @property
    def results_folder(self) -> str:
        """Where the results are."""
        return os.path.dirname(os.path.abspath(self.file))

    @property
    def runs_folder(self) -> str:
        """`workdir`, or its default."""
        name = os.path.basename(self.results_folder)
        return self.workdir or os.path.join("runs", name)

    def allocation_file(self, run: str) -> str:
        """The allocation that a run trains, where it trains one."""
        return os.path.join(self.results_folder, "allocations", f"{run}.json")
