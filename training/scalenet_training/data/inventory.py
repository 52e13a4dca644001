"""What a dataset contains: the content of the table that a run prints first."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scalenet_training.data.files.index import Entry, Index
from scalenet_training.data.files.listing import ImageFile, Unused


class Spread(NamedTuple):
    """Smallest, middle and largest of some numbers."""

    minimum: int
    median: float
    maximum: int


class EqualPair(NamedTuple):
    """A held-out file, and the first training file that has the same bytes."""

    split: str
    held_out: str
    training: str


@dataclasses.dataclass(frozen=True)
class Inventory:
    """What a dataset contains, as far as is known without decoding.

    Attributes:
        class_names: Names of all classes.
        totals: Split -> number of images.
        by_class: Split -> number of images of each class; empty if not known.
        widths: Widths in pixels; None if not known.
        heights: Heights in pixels; None if not known.
        formats: Format -> number of images; empty if not known.
        division: How data without splits were divided; "" if they have splits.
        left_out: Files that were not meant as images.
        damaged: Files that were meant as images and are left out.
        equal: Equal files in training and in another split.
        touched: Files with a new modification time and the same size.
    """

    class_names: tuple[str, ...]
    totals: Mapping[str, int]
    by_class: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    widths: Spread | None = None
    heights: Spread | None = None
    formats: Mapping[str, int] = dataclasses.field(default_factory=dict)
    division: str = ""
    left_out: Sequence[Unused] = ()
    damaged: Sequence[Unused] = ()
    equal: Sequence[EqualPair] = ()
    touched: Sequence[str] = ()

    def classes_without(self, split: str) -> list[str]:
        """Classes without images in a split; none if that is not known."""
        counts = self.by_class.get(split)
        if counts is None:
            return []
        return [self.class_names[label] for label in np.flatnonzero(counts == 0)]


def inventory_of_labels(
    class_names: tuple[str, ...],
    splits: Mapping[str, np.ndarray],
    labels: Sequence[int],
) -> Inventory:
    """The inventory of examples of which only the labels are known."""
    parts = {name: indices for name, indices in splits.items() if name != "all"}
    return Inventory(
        class_names,
        totals={name: len(indices) for name, indices in parts.items()},
        by_class={
            name: np.bincount(np.take(labels, indices), minlength=len(class_names))
            for name, indices in parts.items()
        },
    )


def inventory_of_images(
    class_names: tuple[str, ...],
    splits: Mapping[str, np.ndarray],
    files: Sequence[ImageFile],
    entries: Sequence[Entry],
    index: Index,
) -> Inventory:
    """The inventory of usable image files, from their entries in the index."""
    return dataclasses.replace(
        inventory_of_labels(class_names, splits, [file.label for file in files]),
        widths=_spread([entry.width for entry in entries]),
        heights=_spread([entry.height for entry in entries]),
        formats=dict(collections.Counter(e.format for e in entries).most_common()),
        equal=equal_pairs(splits, files, entries, index),
        touched=index.touched,
    )


def equal_pairs(
    splits: Mapping[str, np.ndarray],
    files: Sequence[ImageFile],
    entries: Sequence[Entry],
    index: Index,
) -> list[EqualPair]:
    """Held-out files that equal a training file; opens files that look alike."""
    held_out = {n: i for n, i in splits.items() if n not in ("train", "all")}
    if "train" not in splits or not held_out:
        return []
    looks = [(e.size, e.format, e.width, e.height) for e in entries]
    in_training = {looks[number] for number in splits["train"]}
    outside = {looks[number] for own in held_out.values() for number in own}
    alike = in_training & outside
    numbers = [n for n, look in enumerate(looks) if look in alike]
    digests = index.digests([files[number] for number in numbers])
    by_number = dict(zip(numbers, digests, strict=True))
    first: dict[str, str] = {}
    for number in splits["train"]:
        if number in by_number:
            first.setdefault(by_number[number], files[number].name)
    return [
        EqualPair(split, files[number].name, first[by_number[number]])
        for split, own in held_out.items()
        for number in own
        if by_number.get(number) in first
    ]


def _spread(numbers: Sequence[int]) -> Spread:
    return Spread(min(numbers), float(np.median(numbers)), max(numbers))
