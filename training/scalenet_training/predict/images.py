"""Which files are predicted for, and which class their folders say they are.

Imports no TensorFlow.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from scalenet_tf.decoding.formats import EXTENSIONS
from scalenet_training.data.files.listing import split_named
from scalenet_training.data.files.reading import read_file
from scalenet_training.data.files.walking import walk
from scalenet_training.errors import RunError, UsageError, usage_errors
from scalenet_training.text import shown


class ImageFile(NamedTuple):
    """A file to predict for.

    Attributes:
        path: As it is opened and shown.
        folder: Name of the folder that would be its class's, in a folder that was
            named: of `val/cat/a.jpg` and of `cat/a.jpg` this is `cat`; as text, as
            the names of classes are. `None` for a file that was named itself, and for
            one in no sub-folder.
    """

    path: str
    folder: str | None = None

    def read(self) -> bytes:
        """The content.

        Raises:
            RunError: It cannot be read.
        """
        try:
            return read_file(self.path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RunError(f"cannot read {self.path!r}: {reason}.") from error


def image_files(paths: Sequence[str]) -> list[ImageFile]:
    """The files among paths, and those in the folders among them; each once.

    Raises:
        UsageError: There is no such file or folder, or no image in a folder.
    """
    if not paths:
        raise UsageError(
            "IMAGES must be one file or folder or more, or - for paths that are read "
            "from standard input. Received: none."
        )
    files: dict[str, ImageFile] = {}
    for path in paths:
        if not os.path.exists(path):
            raise UsageError(f"IMAGES: there is no file or folder {path!r}.")
        found = _images_in(path) if os.path.isdir(path) else [ImageFile(path)]
        if not found:
            raise UsageError(
                f"IMAGES: there is no {', '.join(EXTENSIONS)} file in {path!r}."
            )
        for file in found:
            files.setdefault(file.path, file)
    return list(files.values())


def _images_in(root: str) -> list[ImageFile]:
    with usage_errors(OSError, about="IMAGES: "):
        paths = [path for path in walk(root) if path.lower().endswith(EXTENSIONS)]
    folders = [os.path.relpath(os.path.dirname(path), root) for path in paths]
    return [
        ImageFile(path, _class_folder(folder.split(os.sep)))
        for path, folder in sorted(zip(paths, folders, strict=True))
    ]


def _class_folder(folders: Sequence[str]) -> str | None:
    """The first folder, or the one in it where the first has the name of a split."""
    if len(folders) > 1 and split_named(folders[0]):
        return shown(folders[1])
    return None if folders[0] in (os.curdir, "") else shown(folders[0])
