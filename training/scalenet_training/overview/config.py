"""Settings of the list of runs. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import tyro

from scalenet_training.errors import SettingError
from scalenet_training.settings.base import IN_A_FOLDER, Settings, suffix
from scalenet_training.settings.inputs import RUN

Sort = Literal[
    "name", "model", "dataset", "preset", "error", "epochs", "state", "age", "size"
]
DEFAULT = ("runs",)


@dataclasses.dataclass(frozen=True)
class RunsConfig(Settings):
    """Which runs, in which order, as what."""

    folders: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="[FOLDER [FOLDER ...]]"),
    ] = DEFAULT
    """Folders of runs, at any depth."""

    sort: Sort = "name"
    """What orders the list: error from the lowest, age from the newest, size from the
    largest; what a run does not have comes last."""

    csv: Annotated[str | None, suffix(".csv"), IN_A_FOLDER] = None
    """File to write the list to, with all its columns in full."""

    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print JSON in place of tables."""

    compare: Annotated[tuple[str, str] | None, RUN] = None
    """Two runs: what differs in their settings, data and versions, and their results
    side by side, in place of the list."""

    plot: Annotated[str | None, suffix(".png"), IN_A_FOLDER] = None
    """For --compare: PNG file to draw the curves of both runs into."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compare is None:
            if self.plot is not None:
                raise SettingError.of("plot", "is for `compare`", self.plot)
        elif self.csv is not None:
            raise SettingError.of("csv", "is for the list, not for `compare`", self.csv)
        elif self.folders != DEFAULT:
            rule = "must be left out with `compare`"
            raise SettingError.of("folders", rule, self.folders)
