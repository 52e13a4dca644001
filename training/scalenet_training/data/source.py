"""What a dataset is: its classes, and its splits by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from scalenet_training.data.division import BY_NAME, select
from scalenet_training.data.files.index import Index
from scalenet_training.data.files.listing import ImageFile, Unused
from scalenet_training.data.inventory import Inventory
from scalenet_training.data.splits import IndexedSplit, Split


@dataclasses.dataclass(frozen=True)
class ImageFiles:
    """The files of a source that has files.

    Attributes:
        files: The file of each example, by its number.
        damaged: Files that were meant as images and are left out.
        index: What is known of the files.
    """

    files: Sequence[ImageFile]
    damaged: Sequence[Unused]
    index: Index


@dataclasses.dataclass(frozen=True)
class Source:
    """A dataset: its classes and its splits.

    Attributes:
        name: The name that it was opened by.
        class_names: Names of the classes; a label is an index into them.
        split_names: Names of all splits.
        open_split: Opens a split by its name, or by a slice such as "train[:100]".
        identity: What distinguishes the data from other data, as JSON values.
        images: Its image files, if it has files.
        inventory: Counts the examples, and may open files to do so; None where
            counting would take decoding.
        numbers: The numbers of the examples of a split or a slice: equal ones in two
            of them are the same example. None where that is not known.
    """

    name: str
    class_names: tuple[str, ...]
    split_names: tuple[str, ...]
    open_split: Callable[[str], Split]
    identity: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    images: ImageFiles | None = None
    inventory: Callable[[], Inventory] | None = None
    numbers: Callable[[str], np.ndarray] | None = None

    @property
    def evaluation_split(self) -> str:
        """The split to evaluate on if none is named."""
        for name in ("validation", "test"):
            if name in self.split_names:
                return name
        raise ValueError(
            f"`eval_split` must be given: {self.name} has neither a validation nor a "
            f"test split, only {', '.join(self.split_names)}."
        )


def indexed_source(
    name: str,
    class_names: tuple[str, ...],
    splits: Mapping[str, np.ndarray],
    lookup: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    files: Sequence[str] | None = None,
    labels: np.ndarray | None = None,
    order: Callable[[np.ndarray], np.ndarray] = np.asarray,
    **fields: Any,
) -> Source:
    """A source whose examples are looked up by their numbers.

    `files` and `labels` are those of each example; slices are cut from the `order` of a
    split's numbers; `fields` are the other attributes of `Source`.
    """

    def numbers(spec: str) -> np.ndarray:
        return select(splits, spec, name, order)

    return Source(
        name=name,
        class_names=class_names,
        split_names=tuple(splits),
        open_split=lambda spec: IndexedSplit(numbers(spec), lookup, files, labels),
        numbers=numbers,
        **fields,
    )


def open_split(source: Source, name: str, option: str) -> Split:
    """Opens a split; errors name the option.

    Raises:
        ValueError: There is no such split, or it has no examples.
    """
    try:
        split = source.open_split(name)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from error
    if split.size == 0:
        hint = ""
        if source.identity.get("division") == BY_NAME:
            hint = (
                " No class has 2 images, one of which could be held out. Give a "
                "validation split, or `eval_split` all to evaluate on all images."
            )
        raise ValueError(f"{option}: {name!r} of {source.name} has no examples.{hint}")
    return split
