"""Parts of a dataset: which examples, in which order.

A split gives references to its examples in an order that is a function of (seed,
epoch) alone, and fetches what a reference stands for. A resumed run passes over
references: numbers, or, of a dataset too large for memory, undecoded records.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

# For what pipelines map: none of it branches on a tensor in Python, and to look for
# that, as TensorFlow does by itself, takes longer than to trace it.
without_autograph = tf.autograph.experimental.do_not_convert

Example = Mapping[str, tf.Tensor]  # "id" int64, "image" uint8 or encoded, "label" int64


class Split(Protocol):
    """Some examples of a dataset."""

    @property
    def size(self) -> int:
        """Number of examples."""
        ...

    def references(self, seed: tuple[int, int] | None) -> tf.data.Dataset:
        """Every example once, in the order of the dataset or shuffled by the seed."""
        ...

    def fetch(self, reference: Any) -> Example:
        """The example a reference stands for; traced inside `Dataset.map`."""
        ...

    def part(self, index: int, count: int) -> Split:
        """One of `count` parts of equal size; a remainder is in none."""
        ...


@dataclasses.dataclass(frozen=True)
class IndexedSplit:
    """Examples that can be fetched in any order by their number.

    Attributes:
        indices: Their numbers.
        lookup: From a number to the image and the label.
        files: The file of each example of the dataset.
        dataset_labels: The label of each example of the dataset.
    """

    indices: np.ndarray
    lookup: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
    files: Sequence[str] | None = None
    dataset_labels: np.ndarray | None = None

    @property
    def labels(self) -> np.ndarray | None:
        """The label of each example, in the order of `indices`, where it is known."""
        labels = self.dataset_labels
        return None if labels is None else labels[self.indices]

    @property
    def size(self) -> int:
        """Number of examples."""
        return len(self.indices)

    def references(self, seed: tuple[int, int] | None) -> tf.data.Dataset:
        """Numbers of examples, in an order that the seed alone decides."""
        indices = self.indices
        if seed is not None:
            indices = np.random.default_rng(seed).permutation(indices)
        return tf.data.Dataset.from_tensor_slices(indices)

    def fetch(self, reference: tf.Tensor) -> Example:
        """Looks the example up."""
        image, label = self.lookup(reference)
        return {"id": reference, "image": image, "label": label}

    def part(self, index: int, count: int) -> IndexedSplit:
        """Every `count`-th example, and so of files, listed by class, of each class."""
        whole = self.size // count * count
        return dataclasses.replace(self, indices=self.indices[index:whole:count])
