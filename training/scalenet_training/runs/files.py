"""Files that are replaced whole, and what to say where that fails."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator

import tensorflow as tf

from scalenet_tf.files import TEMPORARY, replaced
from scalenet_training.errors import RunError, UsageError

__all__ = [
    "TEMPORARY",
    "check_writable",
    "disk_errors",
    "remove_leftovers",
    "replaced",
]


@contextlib.contextmanager
def disk_errors(path: str) -> Iterator[None]:
    """Turns failures to write, also TensorFlow's, into a RunError with the path."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "message", error)
        raise RunError(
            f"cannot write to {path!r}: {reason}. What was there before is intact."
        ) from error


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
    """Removes what a killed process had begun to write into a folder."""
    for path in glob.glob(os.path.join(glob.escape(folder), f"{TEMPORARY}*")):
        shutil.rmtree(path, ignore_errors=True)
