"""Which image files a dataset has: what folders and manifests have in common.

Paths keep the bytes that the file system gave them (`os.fsdecode`), whatever their
encoding; `shown` makes text of them that can be printed anywhere.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Literal, NamedTuple

# What is done about files that cannot be used as images.
OnDamaged = Literal["stop", "skip"]

# The names that people give to the parts of a dataset, in small letters.
SPLITS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev", "eval"),
    "test": ("test", "testing"),
}


@dataclasses.dataclass(frozen=True)
class Reading:
    """How image files are examined when a dataset is opened.

    Attributes:
        on_damaged: "stop": a file that cannot be read as an image is an error, and a
            damaged body is found when it is decoded; "skip": every file is decoded
            once, and those that cannot be decoded are left out.
        index: Path of an earlier index, whose entries are used where they still hold.
    """

    on_damaged: OnDamaged = "stop"
    index: str | None = None


class ImageFile(NamedTuple):
    """A file that a dataset counts as an image; nobody has looked inside yet.

    Attributes:
        path: As the operating system takes it.
        name: Path relative to the dataset's folder, with "/"; the absolute path where
            the file lies outside of it.
        label: Number of the class.
        split: Name of the split, or None where the dataset has none.
        size: In bytes.
        mtime_ns: When it was last changed, in nanoseconds.
    """

    path: str
    name: str
    label: int
    split: str | None
    size: int
    mtime_ns: int


class Unused(NamedTuple):
    """Something in a dataset that is not used, and why."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a folder or a manifest says: files, classes, splits.

    Attributes:
        kind: "folder" or "manifest".
        path: As it was given.
        class_names: A label is the place of its class in them.
        files: In an order that hangs on splits, labels and names alone.
        unusable: What was meant as an image, but is no file: links to nothing, files
            of a manifest that are missing, and the like.
        left_out: What was not meant as an image.
    """

    kind: str
    path: str
    class_names: tuple[str, ...]
    files: Sequence[ImageFile]
    unusable: Sequence[Unused] = ()
    left_out: Sequence[Unused] = ()

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that it names, training first; () where it names none."""
        found = {file.split for file in self.files}
        return tuple(name for name in SPLITS if name in found)


def split_named(name: str) -> str | None:
    """The split that people mean by a name, in any case: "Val" -> "validation"."""
    for split, names in SPLITS.items():
        if name.lower() in names:
            return split
    return None


def in_order(files: Sequence[ImageFile]) -> list[ImageFile]:
    """By split, label and name."""
    places = {name: number for number, name in enumerate(SPLITS)}

    def place(file: ImageFile) -> tuple[int, int, str]:
        return places[file.split] if file.split else 0, file.label, file.name

    return sorted(files, key=place)


def shown(path: str) -> str:
    """A path as text: bytes that are not UTF-8 appear as a backslash, x and digits."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def quoted(path: str) -> str:
    """A path for a message: on one line, in quotes."""
    return repr(shown(path)).replace(2 * "\\", "\\")


def some(names: Sequence[str], most: int = 3) -> str:
    """The first names, quoted, and how many more there are."""
    listed = ", ".join(map(quoted, names[:most]))
    more = len(names) - most
    return f"{listed} and {more:,} more" if more > 0 else listed
