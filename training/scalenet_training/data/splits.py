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

from scalenet_tf.decoding import decode_image, why_undecodable
from scalenet_training.data.prepared_features import as_rgb

_SHUFFLE_BUFFER = 16384

Example = Mapping[str, tf.Tensor]  # "id" int64, "image" uint8 or encoded, "label" int64


class Split(Protocol):
    """Some examples of a dataset."""

    @property
    def size(self) -> int:
        """Number of examples."""
        ...

    def references(self, seed: tuple[int, int] | None) -> tf.data.Dataset:
        """Every example once; in the dataset's order, or shuffled by the seed."""
        ...

    def fetch(self, reference: Any) -> Example:
        """The example a reference stands for; traced inside `Dataset.map`."""
        ...

    def part(self, index: int, count: int) -> Split:
        """One of `count` contiguous parts of equal size; a remainder is in none."""
        ...


@dataclasses.dataclass(frozen=True)
class IndexedSplit:
    """Examples that can be fetched in any order by their number."""

    indices: np.ndarray
    lookup: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
    files: Sequence[str] | None = None

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
        """Examples from `index / count` on, `size // count` of them."""
        size = self.size // count
        own = self.indices[index * size : (index + 1) * size]
        return dataclasses.replace(self, indices=own)


@dataclasses.dataclass(frozen=True)
class StreamedSplit:
    """Examples of a prepared dataset that is too large for memory.

    Attributes:
        builder: Of TensorFlow Datasets.
        spec: Split, or slices of splits.
        size: Number of examples.
        encoded: Whether images are stored as files; else as pixels.
    """

    builder: Any
    spec: str
    size: int
    encoded: bool = True

    def references(self, seed: tuple[int, int] | None) -> tf.data.Dataset:
        """The undecoded examples; shuffled by files and through a buffer."""
        import tensorflow_datasets as tfds

        mixed = None
        if seed is not None:
            mixed = int(np.random.default_rng(seed).integers(2**31))
        dataset = self.builder.as_dataset(
            split=self.spec,
            shuffle_files=seed is not None,
            # Other features than these are not read.
            decoders=tfds.decode.PartialDecoding(
                {"image": True, "label": True},
                {"image": tfds.decode.SkipDecoding()} if self.encoded else None,
            ),
            read_config=tfds.ReadConfig(
                shuffle_seed=mixed,
                shuffle_reshuffle_each_iteration=False,
                add_tfds_id=True,
                try_autocache=False,
            ),
        )
        if seed is not None:
            dataset = dataset.shuffle(
                _SHUFFLE_BUFFER, seed=mixed, reshuffle_each_iteration=False
            )
        return dataset

    def fetch(self, reference: Mapping[str, tf.Tensor]) -> Example:
        """The reference is the example; its number is a hash of its name."""
        number = tf.strings.to_hash_bucket_fast(reference["tfds_id"], 2**31 - 1)
        image = reference["image"]
        return {
            "id": number,
            "image": image if self.encoded else as_rgb(image),
            "label": reference["label"],
        }

    def part(self, index: int, count: int) -> StreamedSplit:
        """Examples from `index / count` on; other parts' files are not read."""
        import tensorflow_datasets as tfds

        parts = tfds.even_splits(self.spec, count, drop_remainder=True)
        return dataclasses.replace(self, spec=parts[index], size=self.size // count)


def find_damaged_image(split: Split) -> str | None:
    """Decodes a split's images one by one; names the first that cannot be, and why."""
    files = getattr(split, "files", None)
    for reference in split.references(None):
        why = "it cannot be read"
        try:
            example = split.fetch(reference)
            if example["image"].dtype != tf.string:
                return None
            why = why_undecodable(example["image"].numpy())
            decode_image(example["image"])
        except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError):
            number = int(reference) if files else int(example["id"])
            name = repr(files[number]) if files else f"example {number}"
            return f"{name} ({why})"
    return None


def select(splits: Mapping[str, np.ndarray], spec: str, name: str) -> np.ndarray:
    """The numbers of the examples that a split's name, or a slice of it, stands for.

    Raises:
        ValueError: There is no such split, or it has no examples.
    """
    if spec in splits:
        return splits[spec]
    # The grammar of slices is that of TensorFlow Datasets, for all datasets.
    import tensorflow_datasets as tfds

    infos = {
        key: tfds.core.SplitInfo(name=key, shard_lengths=[len(indices)], num_bytes=0)
        for key, indices in splits.items()
    }
    try:
        parts = tfds.core.ReadInstruction.from_spec(spec).to_absolute(infos)
    except (ValueError, AssertionError, KeyError, NotImplementedError) as error:
        raise ValueError(
            f"no split {spec!r} in {name}: its splits are {', '.join(splits)}, sliced "
            "as in 'train[:100]' or 'train[:50%]'."
        ) from error
    return np.concatenate([splits[p.splitname][p.from_ : p.to] for p in parts])
