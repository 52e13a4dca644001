"""The two ways in which a command ends badly and says why in a line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class UsageError(Exception):
    """What was asked for cannot be done: exit code 2, nothing was written."""


class RunError(Exception):
    """The work began and could not be finished: exit code 1."""


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Turns what libraries raise for unfit arguments and files into UsageError.

    For the checks before the work: afterwards such errors are bugs.
    """
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        raise UsageError(str(error)) from error
