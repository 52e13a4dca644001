"""A sign of life for those who wait, where a command has said nothing for a while."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, TextIO

_SECONDS = 5.0  # of silence, while imports and the tracing of graphs are likely
_LATER = 60.0
_SOON = 180.0  # from the start


class _Heard:
    """A stream that remembers when something was last written to it, and what."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self.last = time.monotonic()
        self.whole = True  # the last line has ended; a bar's has not
        self.waits = False  # for somebody else: there is no work to tell of

    def write(self, text: str) -> int:
        if text:
            self.last, self.whole = time.monotonic(), text.endswith("\n")
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def signs_of_life(seconds: float = _SECONDS, later: float = _LATER) -> Iterator[None]:
    """Says on stderr that the work goes on, after so many seconds without a word.

    In a log, each sign of several in a row waits twice as long as the one before it.

    Args:
        seconds: Of silence, in the first three minutes.
        later: Of silence, from then on, and at most.
    """
    if sys.stdout is None or sys.stderr is None:  # closed: nobody listens
        yield
        return
    began, done = time.monotonic(), threading.Event()
    people = sys.stderr.isatty()
    before, heard = (sys.stdout, sys.stderr), (_Heard(sys.stdout), _Heard(sys.stderr))

    def watch() -> None:
        last, wanted = began, seconds
        while not done.wait(seconds / 10):
            now = time.monotonic()
            word = max(stream.last for stream in heard)
            if word > last:
                last, wanted = word, seconds
            if any(stream.waits for stream in heard):
                last = now
            if now - began >= _SOON:
                wanted = later
            bar = any(stream.isatty() and not stream.whole for stream in heard)
            if now - last >= wanted and not bar:
                with contextlib.suppress(OSError):  # nobody listens, or a full disk
                    tell(f"still at work after {now - began:.0f} s\n")
                last = now
                if not people:
                    wanted = min(2 * wanted, later)

    with contextlib.ExitStack() as stack:
        tell = stack.enter_context(_own_way(before[1]))
        thread = threading.Thread(target=watch, daemon=True)
        sys.stdout, sys.stderr = heard
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            sys.stdout, sys.stderr = before


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Keeps `signs_of_life` silent while the program waits for input."""
    stream = sys.stdout
    if not isinstance(stream, _Heard):
        yield
        return
    stream.waits = True
    try:
        yield
    finally:
        stream.waits = False


@contextlib.contextmanager
def _own_way(stderr: TextIO) -> Iterator[Any]:
    """Gives what writes to stderr, also while TensorFlow's import is kept from it."""
    try:
        descriptor = os.dup(stderr.fileno())
    except (OSError, ValueError):  # no file, as in a notebook
        yield stderr.write
        return
    try:
        # Nothing is kept in a buffer, which could not be written at the end.
        yield lambda text: os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
