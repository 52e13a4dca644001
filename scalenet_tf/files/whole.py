"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

# How the names of files begin that are not written to their end yet.
TEMPORARY = ".writing-"


@contextlib.contextmanager
def replaced(path: str, with_content: bool = False) -> Iterator[str]:
    """Gives a temporary path; what was written there replaces `path` in one step.

    A folder can only replace an empty one, unless `with_content`: then one that is not
    empty is moved away first, and put back where the new one cannot take its place.
    """
    folder, name = os.path.split(path)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=folder or ".") as temporary:
        target = os.path.join(temporary, name)
        yield target
        _write_through(target)
        if not with_content or not os.path.isdir(path):
            os.replace(target, path)
            return
        before = os.path.join(temporary, f"{name}.before")
        os.rename(path, before)
        try:
            os.rename(target, path)
        except BaseException:
            os.rename(before, path)
            raise


@contextlib.contextmanager
def made_folder(path: str) -> Iterator[None]:
    """Makes a folder and those above it; removes those it made where the block fails.

    Folders that are no longer empty stay.
    """
    made = []
    try:
        for folder in reversed(list(_missing(os.path.abspath(path)))):
            with contextlib.suppress(FileExistsError):  # made by someone else just now
                os.mkdir(folder)
                made.append(folder)
        yield
    except BaseException:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        raise


def _write_through(path: str) -> None:
    """Without it a renamed file may be empty after a loss of power."""
    if os.path.isdir(path):
        for name in os.listdir(path):
            _write_through(os.path.join(path, name))
    elif os.path.isfile(path):
        with open(path, "rb+") as file:
            os.fsync(file.fileno())


def _missing(folder: str) -> Iterator[str]:
    while not os.path.exists(folder):
        yield folder
        folder = os.path.dirname(folder)
