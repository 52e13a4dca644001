"""The folders of runs, at any depth below others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from scalenet_training.errors import UsageError
from scalenet_training.runs.metrics import METRICS_FILE
from scalenet_training.runs.record import CONFIG_FILE
from scalenet_training.runs.run_folder import CHECKPOINTS, TENSORBOARD, RunFolder


def find_runs(folders: Iterable[str]) -> list[str]:
    """The runs in folders, below them, or that they are, in the order of their names.

    Hidden folders and links inside are passed over, so that each run is there once.

    Raises:
        UsageError: One of the folders cannot be read.
    """
    found: dict[str, str] = {}
    for folder in folders:
        for path in sorted(_below(os.path.normpath(folder))):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _below(top: str) -> Iterator[str]:
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                listed = list(entries)
        except OSError as error:
            if folder == top:
                raise UsageError(
                    f"`folders`: {folder!r} cannot be read: {error.strerror}."
                ) from error
            continue  # nothing is known of what may not be read
        if _is_run(folder, {entry.name for entry in listed}):
            yield folder
        waiting += [
            entry.path
            for entry in listed
            if entry.is_dir(follow_symlinks=False)
            and entry.name not in (CHECKPOINTS, TENSORBOARD)
            and not entry.name.startswith(".")
        ]


def _is_run(folder: str, names: set[str]) -> bool:
    """Whether a folder is that of a run, be it damaged.

    Other programs have files with the name config.json too.
    """
    others = {METRICS_FILE, CHECKPOINTS} & names
    if CONFIG_FILE not in names:
        return len(others) == 2
    return bool(others) or _has_record(folder)


def _has_record(folder: str) -> bool:
    try:
        RunFolder(folder).read_record()
    except UsageError:
        return False
    return True
