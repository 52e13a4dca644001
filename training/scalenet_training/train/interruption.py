"""Signals that end a run: noted when they come, acted on at the end of a step."""

from __future__ import annotations

import contextlib
import itertools
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

# SIGHUP comes when the terminal is closed or its connection is lost.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextlib.contextmanager
def raising_termination() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP exceptions, so that a process beside is ended, too."""

    def leave(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if not _stays_ignored(n)]
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stays_ignored(number: signal.Signals) -> bool:
    """Whether it is SIGHUP under `nohup`."""
    return number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN


class StoppedError(Exception):
    """All workers have agreed to stop, between two steps."""


class StopRequest:
    """Within its context, the first SIGTERM, SIGINT or SIGHUP asks the run to stop.

    A second signal does what it does without this: it ends the process. SIGHUP stays
    ignored where it is, as under `nohup`.

    Attributes:
        signal: The signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        # Python handles signals only in the main thread.
        if threading.current_thread() is threading.main_thread():
            for number in itertools.filterfalse(_stays_ignored, _SIGNALS):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    @property
    def came(self) -> bool:
        """Whether a signal came."""
        return self.signal is not None

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)
