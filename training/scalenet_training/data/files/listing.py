"""Listings of image files: what folders and manifests have in common.

Paths keep the bytes that the file system gave them (`os.fsdecode`), whatever their
encoding; `text.shown` makes text of them that can be printed anywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple

# What happens to files that cannot be used as images.
OnDamaged = Literal["stop", "skip"]

# The names that people give to the parts of a dataset, in lower case.
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
        resize: Length of their shorter side in evaluation, which is too much for an
            image that is very narrow; None where it is not known.
    """

    on_damaged: OnDamaged = "stop"
    index: str | None = None
    resize: int | None = None


class ImageFile(NamedTuple):
    """A file that a dataset counts as an image; it has not been opened yet.

    Attributes:
        path: The path to open.
        name: Path relative to the dataset's folder, with "/"; the absolute path where
            the file lies outside of it.
        label: Number of the class.
        split: Name of the split, or None where the dataset has none.
        size: Size in bytes.
        mtime_ns: Time of the last change, in nanoseconds.
    """

    path: str
    name: str
    label: int
    split: str | None
    size: int
    mtime_ns: int


class Unused(NamedTuple):
    """A file or folder that is not used, and the reason."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Listing:
    """The files, classes and splits of a folder or a manifest.

    Attributes:
        kind: "folder" or "manifest".
        path: The path that was given.
        class_names: Names of the classes; a label is an index into them.
        files: The files, in an order that depends on splits, labels and names alone.
        unusable: What was meant as an image, but is not a file: links to nothing,
            missing files of a manifest, and the like.
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
        """Names of the splits, training first; () if there are none."""
        found = {file.split for file in self.files}
        return tuple(name for name in SPLITS if name in found)


def split_named(name: str) -> str | None:
    """The split that a name stands for, in any case: "Val" -> "validation"."""
    for split, names in SPLITS.items():
        if name.lower() in names:
            return split
    return None


def in_order(files: Sequence[ImageFile]) -> list[ImageFile]:
    """The files sorted by split, label and name."""
    places = {name: number for number, name in enumerate(SPLITS)}

    def place(file: ImageFile) -> tuple[int, int, str]:
        return places[file.split] if file.split else 0, file.label, file.name

    return sorted(files, key=place)
