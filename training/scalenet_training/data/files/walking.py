"""The files in a folder and those below it, as all commands see them."""

from __future__ import annotations

import os
from collections.abc import Iterator

_SYSTEM_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir"})


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or written by a system for itself."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def walk(root: str) -> Iterator[str]:
    """Paths of all files but hidden ones; links are followed, each loop once.

    Raises:
        OSError: A folder cannot be read.
    """
    yield from _below(root, frozenset())


def _below(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    status = os.stat(folder)
    own = (status.st_dev, status.st_ino)
    if own in above:
        return
    with os.scandir(folder) as entries:
        shown = sorted(entry.name for entry in entries if not is_hidden(entry.name))
    for name in shown:
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            yield from _below(path, above | {own})
        else:
            yield path
