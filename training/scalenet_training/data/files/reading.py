"""Files that are read whole, without waiting for what is no file."""

from __future__ import annotations

import errno
import os
import stat


def read_file(path: str) -> bytes:
    """The content of a file.

    Raises:
        OSError: It cannot be read, or is a pipe or another thing that may never end.
        ValueError: Nothing can have such a name.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # `open` refuses folders
        raise OSError(errno.EINVAL, "neither a file nor a folder", path)
    with open(path, "rb") as file:
        return file.read()
