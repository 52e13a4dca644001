"""The ways in which a command ends before its end, and says why in a line."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


class UsageError(Exception):
    """What was asked for cannot be done: exit code 2, nothing was written."""


class RunError(Exception):
    """The work began and could not be finished.

    Attributes:
        exit_code: Of the process. Schedulers such as the Kubeflow operator take codes
            below 128 as permanent and restart after the others.
    """

    exit_code = 1


class WorkerLostError(RunError):
    """Another worker of the run has gone; all workers have to start again."""

    exit_code = 138  # which Kubeflow leaves to programs, for "start again"


class InterruptedRunError(RunError):
    """A signal asked the run to stop, and it has saved what it did."""

    def __init__(self, message: str, received: signal.Signals):
        super().__init__(message, received)  # both, or it could not be pickled
        self.exit_code = 128 + received

    def __str__(self) -> str:
        return self.args[0]


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Turns what libraries raise for unfit arguments and files into UsageError.

    For the checks before the work: afterwards such errors are bugs.
    """
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        raise UsageError(str(error)) from error
