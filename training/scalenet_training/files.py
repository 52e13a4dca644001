"""Files that are replaced whole, and what to say where that fails."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

import tensorflow as tf

from scalenet_training.errors import RunError

# How the names of files begin that are not written to their end yet.
TEMPORARY = ".writing-"


@contextlib.contextmanager
def replaced(path: str) -> Iterator[str]:
    """Gives a temporary path; what was written there replaces `path` in one step."""
    folder, name = os.path.split(path)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=folder or ".") as temporary:
        target = os.path.join(temporary, name)
        yield target
        os.replace(target, path)


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
