"""Versions of an exported model: numbered folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from scalenet_tf.export import next_version
from scalenet_tf.files import made_folder
from scalenet_training.errors import UsageError
from scalenet_training.files import disk_errors, remove_leftovers, replaced

# What file systems say that have no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EBADF, errno.EINVAL, errno.ENOSYS)


@contextlib.contextmanager
def new_version(folder: str) -> Iterator[str]:
    """Gives a temporary path, whose last part is the next free version's number.

    What was made there gets its place in `folder` in one step where the block ends
    well; where it fails nothing stays. What killed exports left is removed.

    Raises:
        UsageError: Another process is writing a version of the same model.
        RunError: The folder cannot be written.
    """
    with disk_errors(folder), made_folder(folder), _locked(folder) as alone:
        if alone:
            remove_leftovers(folder)
        path = os.path.join(folder, str(next_version(folder)))
        with replaced(path) as temporary:
            yield temporary


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[bool]:
    """Keeps other exports out, as long as this process lives.

    Gives whether that can be known: some network file systems have no locks.
    """
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(fcntl, descriptor, folder)
    finally:
        os.close(descriptor)


def _lock(fcntl: object, descriptor: int, folder: str) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"--name: another process is writing to {folder!r}. Wait for its end."
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True
