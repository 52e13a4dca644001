"""The end of a command whose output cannot be written, as after `| head`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

_UNREAD = 128 + 13  # what a shell gives for a program that SIGPIPE has ended


class OutputError(Exception):
    """Stdout takes no more; no OSError, which is about the files of the work.

    Args:
        reason: In words.
        unread: Whether it is a pipe that nobody reads.
    """

    def __init__(self, reason: str, unread: bool):
        super().__init__(reason, unread)
        self.unread = unread

    def __str__(self) -> str:
        return f"cannot write the output: {self.args[0]}"


class _Stream:
    """A stream whose failures to write are met in one place, `_failure`."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._failure(error)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._failure(error)

    def _failure(self, error: OSError) -> None:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Output(_Stream):
    """Stdout, for which a command works: without it, there is no use in going on."""

    def _failure(self, error: OSError) -> None:
        reason = error.strerror or str(error)
        raise OutputError(reason, isinstance(error, BrokenPipeError)) from error


class _Messages(_Stream):
    """Stderr: what cannot be said does not end the work."""

    def _failure(self, error: OSError) -> None:
        pass


@contextlib.contextmanager
def checked_output() -> Iterator[None]:
    """Raises OutputError where stdout takes no more, also at the end.

    What stderr does not take is lost.
    """
    before = sys.stdout, sys.stderr
    with contextlib.ExitStack() as stack:
        # A stream that the caller has closed, as by `>&-`.
        closed = stack.enter_context(open(os.devnull, "w"))
        sys.stdout = _Output(before[0] or closed)
        sys.stderr = _Messages(before[1] or closed)
        try:
            yield
            sys.stdout.flush()
        finally:
            sys.stderr.flush()
            sys.stdout, sys.stderr = before


@contextlib.contextmanager
def written_output() -> Iterator[None]:
    """Ends a command without a traceback where its output cannot be written.

    Where the reader of a pipe has left, it ends in silence with exit code 141, as other
    programs do; where a disk is full, with a message and exit code 1.
    """
    try:
        with checked_output():
            yield
    except OutputError as error:
        if not error.unread:
            with contextlib.suppress(OSError):
                print(f"error: {error}", file=sys.stderr)
        sys.exit(_UNREAD if error.unread else 1)
    finally:
        _drop_the_rest()


def _drop_the_rest() -> None:
    """Sends what cannot be written nowhere: Python would say so, by another code."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
