"""The end of a command whose output cannot be written, as after `| head`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any, TextIO

# What a shell gives for a program that the signal has ended.
_UNREAD = 128 + signal.SIGPIPE


class OutputError(Exception):
    """A stream takes no more; no OSError, which is about the files of the work."""

    def __init__(self, reason: OSError):
        super().__init__(f"cannot write the output: {reason.strerror}")
        self.unread = isinstance(reason, BrokenPipeError)


class _Output:
    """A stream that says of its own failures that they are its own."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        with _own_failures():
            return self._stream.write(text)

    def flush(self) -> None:
        with _own_failures():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _own_failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(error) from error


@contextlib.contextmanager
def written_output() -> Iterator[None]:
    """Ends a command without a traceback where stdout or stderr takes no more.

    Where the reader of a pipe has left, it ends in silence with exit code 141, as other
    programs do; where a disk is full, with a message and exit code 1.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and _Output(stream) for stream in before)
    try:
        try:
            yield
        finally:  # while something can be said of it
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()
    except OutputError as error:
        sys.stdout, sys.stderr = before
        _end(error)
    finally:
        sys.stdout, sys.stderr = before


def _end(error: OutputError) -> None:
    """Exits; what is still in buffers goes nowhere, without a word of Python's."""
    if not error.unread:
        with contextlib.suppress(OSError):
            print(f"error: {error}", file=sys.stderr, flush=True)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())
    sys.exit(_UNREAD if error.unread else 1)
