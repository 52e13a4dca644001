"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import tempfile
from collections.abc import Iterator

# How the names of files begin that are not written to their end yet.
TEMPORARY = ".writing-"

_EXCHANGE, _CURRENT_FOLDER = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of Linux
_NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


@contextlib.contextmanager
def replaced(path: str, with_content: bool = False) -> Iterator[str]:
    """Gives a temporary path; what was written there replaces `path` in one step.

    A folder can only replace an empty one, unless `with_content`: then the two change
    places in one step. Where the system or the file system cannot do that, the old one
    is moved away first, and put back where the new one cannot take its place: a process
    that is killed between these two steps leaves both in `.writing-*`.
    """
    folder, name = os.path.split(path)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=folder or ".") as temporary:
        target = os.path.join(temporary, name)
        with _in_use(temporary):
            yield target
            _write_through(target)
            if not with_content or not os.path.isdir(path):
                os.replace(target, path)
            elif not _exchanged(target, path):
                _put_in_place(target, path, os.path.join(temporary, f"{name}.before"))


def is_in_use(folder: str) -> bool:
    """Whether a living process writes into a temporary folder of `replaced`.

    Not where the file system has no locks.
    """
    import fcntl  # not on every system that can read files

    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def _in_use(folder: str) -> Iterator[None]:
    """Tells `is_in_use` so, until the process ends, however it does."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # the file system has no locks
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _exchanged(one: str, other: str) -> bool:
    """Whether two paths have changed places, in one step; if not, nothing has changed.

    Raises:
        OSError: They cannot, although this system and file system can.
    """
    exchange = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if exchange is None:
        return False
    first, second = os.fsencode(one), os.fsencode(other)
    if not exchange(_CURRENT_FOLDER, first, _CURRENT_FOLDER, second, _EXCHANGE):
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), one, None, other)


def _put_in_place(target: str, path: str, before: str) -> None:
    """Moves `path` to `before` and `target` to `path`, or leaves all as it is."""
    os.rename(path, before)
    try:
        os.rename(target, path)
    except BaseException:
        os.rename(before, path)
        raise


@contextlib.contextmanager
def made_folder(path: str) -> Iterator[None]:
    """Makes a folder and those above it; removes those it made where the block fails.

    Folders that are no longer empty stay.
    """
    made = []
    try:
        for folder in reversed(list(_missing(os.path.abspath(path)))):
            with contextlib.suppress(FileExistsError):  # made by someone else just now
                os.mkdir(folder)
                made.append(folder)
        yield
    except BaseException:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        raise


def _write_through(path: str) -> None:
    """Without it a renamed file may be empty after a loss of power."""
    if os.path.isdir(path):
        for name in os.listdir(path):
            _write_through(os.path.join(path, name))
    elif os.path.isfile(path):
        with open(path, "rb+") as file:
            os.fsync(file.fileno())


def _missing(folder: str) -> Iterator[str]:
    while not os.path.exists(folder):
        yield folder
        folder = os.path.dirname(folder)
