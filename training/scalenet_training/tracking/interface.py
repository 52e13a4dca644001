"""What a tracker is told of a run, and what it is asked. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, Protocol

# Of the experiment or project, unless the tracker's own variables name another one.
PROJECT = "scalenet_tf"

Row = Mapping[str, Any]


class End(enum.Enum):
    """How a training ended."""

    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclasses.dataclass(frozen=True)
class TrackedRun:
    """A run, as trackers know it.

    Attributes:
        identity: What it is found by again; letters and digits.
        name: For people.
    """

    identity: str
    name: str


class Tracker(Protocol):
    """A run in a tracker. All methods may raise whatever the tracker raises.

    Nothing is changed there before `begin`.
    """

    def has_all(self, rows: Sequence[Row]) -> bool:
        """Whether the run has ended there as finished, with these rows."""

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Makes the run, or goes on with it; sends the settings that it lacks."""

    def lacking(self, rows: Sequence[Row]) -> list[Row]:
        """The rows that are not there, or what is not there of them.

        The tracker is asked once; later calls count what was sent since.

        Args:
            rows: Of metrics.csv, in their order.
        """

    def send(self, row: Row) -> None:
        """Sends a point: the numbers of an epoch."""

    def send_files(self, paths: Sequence[str]) -> None:
        """Sends files, which replace those of the same names."""

    def end(self, how: End) -> None:
        """Ends the run there, for this process; it may go on later."""


def without(rows: Sequence[Row], points: Container[tuple[int, str]]) -> list[Row]:
    """The rows without the numbers that are among points (epoch, name)."""
    left = [
        {
            name: value
            for name, value in row.items()
            if name == "epoch" or (row["epoch"], name) not in points
        }
        for row in rows
    ]
    return [row for row in left if len(row) > 1]


def points_of(row: Row) -> set[tuple[int, str]]:
    """The points (epoch, name) of a row."""
    return {(row["epoch"], name) for name in row if name != "epoch"}


@dataclasses.dataclass(frozen=True)
class TrackerKind:
    """A row of the table of trackers.

    Attributes:
        title: Its name, as people write it.
        module: A module that there is only if the package is installed: a folder of
            results has the package's own name.
        package: The package, as pip calls it.
        extra: The extra of scalenet_tf that installs it.
        open: Looks for a run there, which need not have begun.
    """

    title: str
    module: str
    package: str
    extra: str
    open: Callable[[TrackedRun], Tracker]
