"""Files that are replaced whole, and what to say where that fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from scalenet_tf.files import TEMPORARY, replaced
from scalenet_training.errors import RunError

__all__ = ["TEMPORARY", "disk_errors", "replaced"]


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
