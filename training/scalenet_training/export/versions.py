"""Versions of an exported model: numbered folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from scalenet_tf.export import next_version
from scalenet_training.runs.files import disk_errors, remove_leftovers, replaced
from scalenet_training.runs.locking import locked_folder


@contextlib.contextmanager
def new_version(folder: str) -> Iterator[str]:
    """Gives a temporary path, whose last part is the next free version's number.

    What was made there gets its place in `folder` in one step where the block ends
    well; where it fails nothing stays. What killed exports left is removed.

    Raises:
        UsageError: Another process is writing a version of the same model.
        RunError: The folder cannot be written.
    """
    with disk_errors(folder), locked_folder(folder, "`name`") as lock:
        if lock.certain:
            remove_leftovers(folder)
        path = os.path.join(folder, str(next_version(folder)))
        with replaced(path) as temporary:
            yield temporary
