"""Function calls in another process, whose memory is free when it ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from scalenet_training.cli.quiet import silence_tensorflow
from scalenet_training.devices.processor import use_onednn
from scalenet_training.errors import RunError

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
    pool = ProcessPoolExecutor(
        1,
        multiprocessing.get_context("spawn"),  # TensorFlow cannot be forked
        initializer=_begin,
        initargs=(batch_size,),
        max_tasks_per_child=calls,
    )
    try:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()
    except BrokenProcessPool as error:
        raise RunError(
            "the process of the trials has died; the system ends processes where "
            "memory is short. The same command goes on with the search."
        ) from error
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()  # a training saves what it did
        raise
    finally:
        pool.shutdown()


def _begin(batch_size: int) -> None:
    silence_tensorflow()
    use_onednn(batch_size, os.environ)
    _end_with_parent()


def _end_with_parent() -> None:
    """Ends this process as soon as its parent is gone, even if that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
