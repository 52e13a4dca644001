"""The errors that end a command with one line on stderr, and its exit codes."""

from __future__ import annotations

import contextlib
import difflib
import signal
from collections.abc import Iterable, Iterator
from typing import Any


class UsageError(Exception):
    """What was asked for cannot be done: exit code 2, nothing was written.

    Messages name settings in backticks, as in "`batch_size` must be more than 0"; the
    command line shows its options instead ("--batch-size must be more than 0").
    """


class SettingError(UsageError, ValueError):
    """A setting is not allowed, by itself or together with others."""

    @classmethod
    def of(cls, field: str, rule: str, received: Any) -> SettingError:
        """The error of a value that breaks a rule, such as "must be more than 0"."""
        return cls(f"`{field}` {rule}. Received: {received!r}.")


class RunError(Exception):
    """The work began and could not be finished.

    Attributes:
        exit_code: Exit code of the process. Schedulers such as the Kubeflow operator
            take codes below 128 as permanent and restart after the others.
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


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A question for the end of an error, where words are like the one that came."""
    by_case = {known.lower(): known for known in words}
    near = difflib.get_close_matches(word.lower(), list(by_case), n=3, cutoff=0.7)
    return f" Did you mean {' or '.join(by_case[key] for key in near)}?" if near else ""


@contextlib.contextmanager
def usage_errors(*kinds: type[Exception], about: str = "") -> Iterator[None]:
    """Turns what libraries raise for unfit arguments and files into UsageError.

    For calls that check settings or open files, and nothing else: elsewhere these
    errors are bugs, which show their traceback.

    Args:
        kinds: What is turned; by default ValueError, OSError and ImportError.
        about: How the message begins.
    """
    kinds = kinds or (ValueError, OSError, ImportError)
    try:
        yield
    except kinds as error:
        raise UsageError(f"{about}{error}") from error
