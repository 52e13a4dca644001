"""What image files tell of themselves before a run: how many, how large.

Imports no TensorFlow: settings that follow from the data are decided first.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from scalenet_training.data.files.folder import is_folder, list_folder
from scalenet_training.data.files.listing import Listing
from scalenet_training.data.files.manifest import is_manifest, list_manifest

_LOOKED_AT = 64  # files, evenly spaced over the training images


class Facts(NamedTuple):
    """What is known of the training images of a folder or a manifest.

    Attributes:
        images: Number of training images; of a folder whose damaged files will be
            left out, with them.
        classes: Number of classes.
        sides: Shorter sides of some of the images, in pixels, ascending; empty where
            none could be read.
    """

    images: int
    classes: int
    sides: tuple[int, ...] = ()

    @property
    def side(self) -> int | None:
        """The median of the shorter sides, in pixels; None if not known."""
        return self.sides[len(self.sides) // 2] if self.sides else None

    def __str__(self) -> str:
        known = f"{self.images:,} training images of {self.classes:,} classes"
        if not self.sides:
            return known
        return (
            f"{known}, shorter sides of {self.sides[0]} to {self.sides[-1]} pixels "
            f"(median {self.side}, of {len(self.sides)} images)"
        )


def are_files(dataset: str, data_dir: str | None) -> bool:
    """Whether a dataset's name is meant as a folder or a manifest of images."""
    return is_manifest(dataset) or is_folder(dataset, data_dir)


def facts_of_files(dataset: str, train_split: str) -> Facts:
    """Lists a folder or a manifest, and reads the headers of a few images.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no such folder or manifest, or has no such split.
    """
    from scalenet_training.data.division import (
        divide,
        evenly,
        select,
        spread_over_classes,
    )

    path = os.path.expanduser(dataset)
    listing = list_manifest(path) if is_manifest(path) else list_folder(path)
    if not listing.files:  # the run says what is missing
        return Facts(0, len(listing.class_names))
    splits = divide(listing.files, listing.split_names)
    try:
        order = partial(spread_over_classes, files=listing.files)
        numbers = select(splits, train_split, dataset, order)
    except ValueError as error:
        raise ValueError(f"`train_split`: {error}") from error
    looked_at = [int(numbers[i]) for i in evenly(_LOOKED_AT, len(numbers))]
    sides = _shorter_sides(listing, looked_at)
    return Facts(len(numbers), len(listing.class_names), sides)


def _shorter_sides(listing: Listing, numbers: Sequence[int]) -> tuple[int, ...]:
    """Sorted; a file that cannot be read is left to the run, which names it."""
    from PIL import Image

    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in numbers:
            try:
                with Image.open(listing.files[number].path) as image:
                    found.append(min(image.size))
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                continue
    return tuple(sorted(found))
