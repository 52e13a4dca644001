"""What a run is and how far it has come, in a line."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from scalenet_training.errors import UsageError
from scalenet_training.runs.locking import is_locked
from scalenet_training.runs.metrics import METRICS_FILE, Curve
from scalenet_training.runs.record import CONFIG_FILE, RunRecord
from scalenet_training.runs.run_folder import RunFolder

State = Literal["ended", "running", "stopped", "diverged", "damaged"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overview:
    """A run in a line; what a damaged run does not say any more is None.

    Attributes:
        run: Its folder.
        model: Name of the network.
        dataset: As it was given to the run.
        preset: Where the defaults of its settings came from.
        best_error: Top-1 validation error of `best.keras`, a fraction, the lowest one
            unless `--best` says otherwise; None before an epoch.
        best_epoch: The epoch of that, counted from 1.
        epochs: Epochs that were evaluated.
        planned_epochs: Epochs in all.
        state: ended; running, where a process has locked the folder; diverged;
            damaged, where its record or its metrics cannot be read; else stopped.
        reason: What is damaged.
        changed: When it last wrote an epoch, or began, in seconds since 1970.
        size: Of all its files, in bytes.
    """

    run: str
    model: str | None = None
    dataset: str | None = None
    preset: str | None = None
    best_error: float | None = None
    best_epoch: int | None = None
    epochs: int | None = None
    planned_epochs: int | None = None
    state: State
    reason: str | None = None
    changed: float
    size: int


@dataclasses.dataclass(frozen=True)
class Run:
    """What is read of a run that is whole.

    Attributes:
        path: Its folder.
        record: The content of config.json.
        rows: Those of metrics.csv.
    """

    path: str
    record: RunRecord
    rows: Sequence[Mapping[str, Any]]

    @property
    def epochs(self) -> int:
        """Epochs that were evaluated."""
        return self.rows[-1]["epoch"] + 1 if self.rows else 0

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The row of the epoch that `best.keras` is from."""
        return self.curve.best if self.rows else None

    @property
    def curve(self) -> Curve:
        """Its epochs."""
        return self.record.curve(self.rows)

    @property
    def state(self) -> State:
        """What it is doing, or how it has ended."""
        if is_locked(self.path):
            return "running"
        if RunFolder(self.path).has_diverged:
            return "diverged"
        return "ended" if self.record.has_ended(self.rows) else "stopped"


def read_run(path: str) -> Run:
    """Reads a run.

    Raises:
        UsageError: There is none, or it is damaged; the message names the file.
    """
    folder = RunFolder(path)
    return Run(path, folder.read_record(), folder.rows())


def overview(path: str) -> Overview:
    """The line of a run, be it damaged."""
    facts: dict[str, Any] = {
        "run": path,
        "changed": _changed(path),
        "size": _size(path),
    }
    try:
        run = read_run(path)
        state = run.state
    except (UsageError, OSError) as error:
        return Overview(**facts, state="damaged", reason=str(error))
    best = run.best
    return Overview(
        **facts,
        model=run.record.architecture["name"],
        dataset=run.record.config.dataset,
        preset=run.record.config.preset,
        best_error=None if best is None else best["val_top1_error"],
        best_epoch=None if best is None else best["epoch"] + 1,
        epochs=run.epochs,
        planned_epochs=run.record.planned_epochs,
        state=state,
    )


def _changed(path: str) -> float:
    for name in (METRICS_FILE, CONFIG_FILE, ""):
        try:
            return os.stat(os.path.join(path, name)).st_mtime
        except OSError:
            continue
    return 0.0


def _size(path: str) -> int:
    """Bytes of the files below a folder; of what goes meanwhile, none."""
    total = 0
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    total += _size(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    except OSError:
        return total
    return total
