"""Function calls in another process, whose memory is free when it ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from scalenet_training.cli.output import OutputError, checked_output
from scalenet_training.cli.quiet import silence_tensorflow
from scalenet_training.devices.processor import use_onednn
from scalenet_training.errors import RunError
from scalenet_training.train.interruption import raising_termination

# What calls a function: `call(function, *arguments)`.
Call = Callable[..., Any]


@contextlib.contextmanager
def other_process(calls: int, batch_size: int = 1) -> Iterator[Call]:
    """Gives a function that makes calls in another process, one at a time.

    That process ends with this one, however this one ends.

    Args:
        calls: A fresh process takes over after that many calls: TensorFlow keeps memory
            of every network until its process ends.
        batch_size: Of what is computed there; see `use_onednn`.

    Raises:
        RunError: The process has died.
    """
    caller = _Caller(calls, batch_size)
    with raising_termination():
        try:
            yield caller.call
        finally:
            caller.end()


class _Caller:
    """This end of the pipe.

    An executor would do the same with a thread and locks; Ctrl-C at the moment when one
    of these is taken leaves it taken, and the program waits for it for ever.
    """

    def __init__(self, calls: int, batch_size: int):
        self._calls = calls
        self._left = 0  # calls until a fresh process takes over
        self._batch_size = batch_size
        self._pipe: Connection | None = None
        self._process: SpawnProcess | None = None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self._left == 0:
            self.end()
            self._begin()
        assert self._pipe is not None
        self._left -= 1
        try:
            self._pipe.send((function, arguments))
            returned, value = self._pipe.recv()
        except BaseException as error:
            self._stop()
            if isinstance(error, (EOFError, OSError)):
                raise RunError(
                    "the process of the trials has died; the system ends processes "
                    "where memory is short. The same command goes on with the search."
                ) from error
            raise
        if returned:
            return value
        raise value

    def end(self) -> None:
        """Waits until the process has ended, which is done with its calls."""
        if self._pipe is not None:  # a process that waits at its other end goes, too
            self._pipe.close()
        if self._process is not None:
            self._process.join()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")  # TensorFlow cannot be forked
        self._pipe, theirs = context.Pipe()
        process = context.Process(target=_answer, args=(theirs, self._batch_size))
        process.start()
        self._process, self._left = process, self._calls
        theirs.close()  # so that the death of the process is the end of the pipe

    def _stop(self) -> None:
        assert self._process is not None
        self._process.terminate()  # a training saves what it did
        self._left = 0


def _answer(pipe: Connection, batch_size: int) -> None:
    """Makes the calls that come, until the other end of the pipe is closed."""
    # Ctrl-C comes to the caller alone, who asks this process to stop: a second signal
    # would end it before a training has saved what it did.
    os.setpgid(0, 0)
    silence_tensorflow()
    use_onednn(batch_size, os.environ)
    _end_with_parent()
    # A caller that is gone, or a signal between two calls, ends the process; so does
    # what cannot be written, of which the caller has been told by then.
    ends = (EOFError, ConnectionError, KeyboardInterrupt, OutputError)
    with contextlib.suppress(*ends), checked_output():
        while True:
            function, arguments = pipe.recv()
            _send(pipe, *_result(function, arguments))


def _result(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple:
    """Whether a call returned, and what it returned or raised."""
    try:
        return True, function(*arguments)
    except BaseException as error:
        error.add_note(f"In the process of the trials:\n{traceback.format_exc()}")
        return False, error


def _send(pipe: Connection, returned: bool, value: Any) -> None:
    """Sends what can be sent: of an error that cannot, its traceback."""
    try:
        content = pickle.dumps((returned, value))
        pickle.loads(content)
    except Exception as error:
        about = value if isinstance(value, BaseException) else error
        text = "".join(traceback.format_exception(about))
        content = pickle.dumps((False, RuntimeError(text)))
    pipe.send_bytes(content)  # which `recv` takes as what `send` sent


def _end_with_parent() -> None:
    """Ends this process as soon as its parent is gone, even if that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
