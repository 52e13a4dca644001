"""Files that are written whole or not at all, and what to say where that fails.

Imports no TensorFlow.
"""

from __future__ import annotations

import contextlib
import csv
import glob
import json
import os
import re
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TextIO

from scalenet_tf.files import TEMPORARY, is_in_use, replaced
from scalenet_training.errors import RunError, UsageError

__all__ = [
    "TEMPORARY",
    "check_own_folder",
    "check_replaceable",
    "check_writable",
    "disk_errors",
    "remove_leftovers",
    "replaced",
    "replacing",
    "write_json",
    "write_rows",
    "written",
]

# Names of files keep the bytes that they have on disk.
_NAMES = "surrogateescape"


@contextlib.contextmanager
def disk_errors(path: str) -> Iterator[None]:
    """Turns failures to write, also TensorFlow's, into a RunError with the path."""
    try:
        yield
    except _failures() as error:
        raise RunError(
            f"cannot write to {path!r}: {_reason(error)}. What was there before is "
            "intact."
        ) from error


def _failures() -> tuple[type[Exception], ...]:
    """What writing raises; where TensorFlow was not imported, it writes nothing."""
    tensorflow = sys.modules.get("tensorflow")
    return (OSError, tensorflow.errors.OpError) if tensorflow else (OSError,)


def _reason(error: Exception) -> str:
    """Why a file cannot be written, without what TensorFlow says of its operations."""
    reason = getattr(error, "strerror", None) or getattr(error, "message", str(error))
    line = str(reason).strip().partition("\n")[0]
    return re.sub(r"^\{\{.*?\}\} | \[Op:\w+\].*", "", line)


@contextlib.contextmanager
def replacing(path: str) -> Iterator[str]:
    """Gives a temporary path; what is written there replaces `path` in one step.

    Raises:
        RunError: It cannot be written; what was there before is intact.
    """
    with disk_errors(path), replaced(path) as temporary:
        yield temporary


@contextlib.contextmanager
def written(path: str) -> Iterator[TextIO]:
    """Gives a text file that replaces `path` in one step when the block ends.

    Raises:
        RunError: It cannot be written; what was there before is intact.
    """
    with (
        replacing(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors=_NAMES) as file,
    ):
        yield file


def write_json(path: str, content: Any) -> None:
    """Writes a JSON file whole.

    Raises:
        RunError: It cannot be written.
    """
    text = json.dumps(content, indent=1)
    with written(path) as file:
        file.write(f"{text}\n")


def write_rows(
    path: str,
    rows: Sequence[Mapping[str, Any]],
    missing: str = "",
    columns: Sequence[str] = (),
) -> None:
    """Writes a CSV file whole, with the columns of its last row, and then others.

    Args:
        path: The file.
        rows: Column -> value.
        missing: What stands where a row lacks a column.
        columns: The first columns, which are there without a row, too.

    Raises:
        RunError: It cannot be written.
    """
    with written(path) as file:
        found = (name for row in reversed(rows) for name in row)
        names = list(dict.fromkeys([*columns, *found]))
        writer = csv.DictWriter(file, fieldnames=names, restval=missing)
        writer.writeheader()
        writer.writerows(rows)


def check_replaceable(
    path: str, setting: str, what: str, marker: str, known: Collection[str]
) -> None:
    """Checks that a folder may be written, or replaced as a whole; writes nothing.

    Args:
        path: The folder.
        setting: What names it, for messages.
        what: `"report"` or `"publication"`, for messages.
        marker: The file that shows that there is one already.
        known: The names of all that one may hold.

    Raises:
        UsageError: It is there and neither empty nor an earlier one, or it cannot be
            written.
    """
    check_writable(path, f"`{setting}`")
    # Where it is written, before it takes the place of the folder.
    check_writable(os.path.dirname(os.path.realpath(path)), f"`{setting}`")
    if not os.path.exists(path):
        return
    names = set(os.listdir(path))
    others = sorted(names.difference(known))
    if others or (names and marker not in names):
        which = f"{others[0]!r}" if others else f"no {marker}"
        raise UsageError(
            f"`{setting}` must be a new or an empty folder, or an earlier {what}, "
            f"which is replaced. Received: {path!r}, which holds {which}."
        )
    if os.path.samefile(path, "."):
        raise UsageError(
            f"`{setting}` must not be the current folder, since it is replaced as a "
            f"whole. Received: {path!r}."
        )


def check_own_folder(path: str, marker: str, what: str) -> bool:
    """Checks that a run or a search may use a folder; writes nothing.

    Args:
        path: The folder.
        marker: The file that shows that there is one already.
        what: `"run"` or `"search"`, for messages.

    Returns:
        Whether there is one already.

    Raises:
        UsageError: The folder holds other things, or cannot be written.
    """
    check_writable(path, "`workdir`")
    if os.path.exists(os.path.join(path, marker)):
        return True
    # A chief that has just begun may be writing its file.
    names = os.listdir(path) if os.path.exists(path) else []
    if any(not name.startswith(TEMPORARY) for name in names):
        raise UsageError(
            f"`workdir` must be new, empty, or the folder of a {what}. Received: "
            f"{path!r}, which holds other files and no {marker}."
        )
    return False


def check_writable(path: str, option: str) -> None:
    """Checks that a folder, or the first one above it that there is, can be written.

    Raises:
        UsageError: It cannot, or is no folder; the message names the option.
    """
    if os.path.exists(path) and not os.path.isdir(path):
        raise UsageError(f"{option} must be a folder. Received: {path!r}.")
    parent = os.path.abspath(path)
    while not os.path.exists(parent):
        parent = os.path.dirname(parent)
    if not os.path.isdir(parent) or not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"{option} {path!r} cannot be written: {parent!r} is not a folder that "
            "can be written to."
        )


def remove_leftovers(folder: str) -> None:
    """Removes what killed processes had begun to write into a folder.

    Not what a living one writes there, such as the report of an evaluation.
    """
    for path in glob.glob(os.path.join(glob.escape(folder), f"{TEMPORARY}*")):
        if not is_in_use(path):
            shutil.rmtree(path, ignore_errors=True)
