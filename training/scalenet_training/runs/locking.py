"""One writer per folder: a lock that ends with the process that holds it."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import time
from collections.abc import Iterator

from scalenet_tf.files import made_folder
from scalenet_training.errors import UsageError
from scalenet_training.runs.files import check_writable

# What file systems say that have no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EBADF, errno.EINVAL, errno.ENOSYS)
# A writer asks again after a while: `is_locked` has the lock for some microseconds.
_ATTEMPTS, _SECONDS_BETWEEN = 3, 0.02


class FolderInUseError(UsageError):
    """Another process writes to the folder."""


@dataclasses.dataclass(frozen=True)
class Lock:
    """A folder that no other process writes to.

    Attributes:
        certain: Whether that is so; some network file systems have no locks.
        folder: The folder.
        option: The option that it came by, for messages.
        descriptor: What is locked.
    """

    certain: bool
    folder: str
    option: str
    descriptor: int

    @property
    def holds(self) -> bool:
        """Whether what is locked is the folder that has this name now."""
        return _is(self.descriptor, self.folder)

    def check(self) -> None:
        """Checks that the folder is there still; for one who is about to write.

        Raises:
            FolderInUseError: It was removed: another process may write to a new one.
        """
        if not self.holds:
            raise FolderInUseError(
                f"{self.option}: {self.folder!r} was removed while this command "
                "prepared to write to it. Run it again."
            )


@contextlib.contextmanager
def locked_folder(folder: str, option: str) -> Iterator[Lock]:
    """Makes a folder where there is none, and keeps other writers out of it.

    A folder that was made and is empty still is removed where the block fails. What a
    holder of the lock finds unfinished was left by a dead process.

    Args:
        folder: To write to.
        option: The option that it came by, for messages.

    Raises:
        FolderInUseError: Another process writes to it.
        UsageError: It cannot be written.
    """
    check_writable(folder, option)
    with contextlib.ExitStack() as lock_held, contextlib.ExitStack() as made:
        made.enter_context(made_folder(folder))
        descriptor = _opened(folder)
        if descriptor is not None:
            lock_held.callback(os.close, descriptor)
        certain = None if descriptor is None else _lock(descriptor)
        # One who failed its checks may have removed the folder meanwhile.
        if descriptor is None or certain is None or not _is(descriptor, folder):
            made.close()  # the folder stays: it may be locked and empty still
            raise FolderInUseError(
                f"{option}: another process is writing to {folder!r}. Wait for its "
                "end, or give another folder."
            )
        lock = Lock(certain, folder, option, descriptor)
        try:
            yield lock
        except BaseException:
            if not lock.holds:
                made.close()  # a folder of this name is another's
            raise
        # Where the block failed the folder goes before the lock does: a process that
        # got the lock in between would be left with a folder that is gone.


def is_locked(folder: str) -> bool:
    """Whether a process has locked a folder; not where the file system has no locks.

    Raises:
        OSError: The folder cannot be read.
    """
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:  # shared, so that two who ask do not take each other for a writer
        return _taken(descriptor, fcntl.LOCK_SH) is None
    finally:
        os.close(descriptor)


def _opened(folder: str) -> int | None:
    """A descriptor of a folder; `None` where who made it has just removed it."""
    try:
        return os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None


def _lock(descriptor: int) -> bool | None:
    """Whether it is locked now; `None` where another process has it."""
    import fcntl  # not on every system that can read settings

    for _ in range(_ATTEMPTS - 1):
        taken = _taken(descriptor, fcntl.LOCK_EX)
        if taken is not None:
            return taken
        time.sleep(_SECONDS_BETWEEN)
    return _taken(descriptor, fcntl.LOCK_EX)


def _taken(descriptor: int, kind: int) -> bool | None:
    import fcntl

    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _is(descriptor: int, folder: str) -> bool:
    """Whether a descriptor is that of the folder that has this name now."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(folder))
    except FileNotFoundError:
        return False
