"""What a dataset is: its classes, and its splits by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from scalenet_training.data.splits import IndexedSplit, Split, select


@dataclasses.dataclass(frozen=True)
class Source:
    """A dataset: its classes and its splits."""

    name: str
    class_names: tuple[str, ...]
    split_names: tuple[str, ...]
    open_split: Callable[[str], Split]

    @property
    def evaluation_split(self) -> str:
        """The split to evaluate on where none is named."""
        for name in ("validation", "test"):
            if name in self.split_names:
                return name
        raise ValueError(
            f"--eval-split must be given: {self.name} has neither a validation nor a "
            f"test split, only {', '.join(self.split_names)}."
        )


def indexed_source(
    name: str,
    class_names: tuple[str, ...],
    splits: Mapping[str, np.ndarray],
    lookup: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    files: Sequence[str] | None = None,
) -> Source:
    """A source whose splits are numbers of examples that a function looks up."""
    return Source(
        name=name,
        class_names=class_names,
        split_names=tuple(splits),
        open_split=lambda spec: IndexedSplit(select(splits, spec, name), lookup, files),
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
        raise ValueError(f"{option}: {name!r} of {source.name} has no examples.")
    return split
