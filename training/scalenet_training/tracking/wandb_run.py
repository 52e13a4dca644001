"""A run in Weights & Biases. The package is imported when a run is opened."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from scalenet_training.tracking.interface import (
    PROJECT,
    End,
    Row,
    TrackedRun,
    points_of,
    without,
)
from scalenet_training.tracking.wandb_files import Kept, kept_offline

_EXIT_CODES = {End.FINISHED: 0, End.FAILED: 1, End.INTERRUPTED: 130}


class WandbRun:
    """A run where the environment variables of Weights & Biases say.

    Online the server says which step it is at; steps come there in order. Offline each
    process has a folder of its own, with the id of the run; what was kept before is
    read from all of them. A process that is killed may leave nothing of its last
    points there, since wandb writes some 32 KB at once; they are kept anew.
    """

    def __init__(self, run: TrackedRun):
        import wandb

        self._wandb = wandb
        self._tracked = run
        self._run: Any = None
        self._next = 0  # the first step that the server lacks
        self._points: set[tuple[int, str]] = set()  # that are kept offline

    def has_all(self, rows: Sequence[Row]) -> bool:
        """Whether offline folders have it all; the server is asked by `begin`."""
        kept = self._kept(self._wandb.setup().settings)
        return kept.exit_code == 0 and not without(rows, kept.points)

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Makes the run, or goes on with it; later settings replace earlier ones."""
        named = os.environ
        self._run = self._wandb.init(
            id=self._tracked.identity,
            resume="allow",
            project=named.get("WANDB_PROJECT") or PROJECT,
            name=named.get("WANDB_NAME") or self._tracked.name,
            config=dict(settings),
            allow_val_change=True,
            # What is printed is not part of the run's folder.
            settings={} if named.get("WANDB_CONSOLE") else {"console": "off"},
        )
        self._next = self._run.step
        if self._run.offline:
            self._points = self._kept(self._run.settings).points

    def lacking(self, rows: Sequence[Row]) -> list[Row]:
        """The rows from the server's step on, or what no offline folder has."""
        if self._run.disabled:
            return []
        if self._run.offline:
            return without(rows, self._points)
        return [row for row in rows if row["epoch"] >= self._next]

    def send(self, row: Row) -> None:
        """Sends the numbers of an epoch as one step."""
        numbers = {name: value for name, value in row.items() if name != "epoch"}
        self._run.log(numbers, step=row["epoch"], commit=True)
        self._next = row["epoch"] + 1
        self._points |= points_of(row)

    def send_files(self, paths: Sequence[str]) -> None:
        """Sends files, which replace those of the same names."""
        for path in paths:
            self._run.save(path, base_path=os.path.dirname(path), policy="now")

    def end(self, how: End) -> None:
        """Waits until all is sent or kept, and says how it ended."""
        self._run.finish(exit_code=_EXIT_CODES[how])

    def _kept(self, settings: Any) -> Kept:
        return kept_offline(settings.wandb_dir, self._tracked.identity)
