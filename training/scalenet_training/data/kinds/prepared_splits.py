"""Splits of prepared datasets: in memory, or streamed from their files."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from scalenet_tf.decoding import decode_image
from scalenet_training.data.kinds.prepared_features import as_rgb, is_encoded
from scalenet_training.data.splits import (
    Example,
    IndexedSplit,
    Split,
    without_autograph,
)

# Datasets up to this size are held in memory, which allows a full shuffle and passing
# over examples at no cost.
_MEMORY_LIMIT = 2**30
# Bytes of pixels: images of one size are decoded once, if all take no more.
_DECODED_LIMIT = 2**28
_SHUFFLE_BUFFER = 16384


@dataclasses.dataclass(frozen=True)
class StreamedSplit:
    """Examples of a prepared dataset that is too large for memory.

    Attributes:
        builder: The dataset's builder, of TensorFlow Datasets.
        spec: A split, or slices of splits.
        size: Number of examples.
        encoded: Whether images are stored encoded, and not as pixels.
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
        """Examples from `index / count` on; the files of other parts are not read."""
        import tensorflow_datasets as tfds

        size, splits = self.size // count, self.builder.info.splits
        part = tfds.even_splits(self.spec, count, drop_remainder=True)[index]
        # Of several slices they leave out a remainder of each.
        if splits[part].num_examples != size:
            part = _cut(self.builder, self.spec, index * size, size)
        return dataclasses.replace(self, spec=part, size=size)


def open_prepared_split(builder: Any, spec: str) -> Split:
    """Opens a split of a prepared dataset, or slices of its splits.

    Raises:
        ValueError: There is no such split, it has no examples, or its files cannot be
            read.
    """
    try:
        size = _size(builder, spec)
    except (KeyError, ValueError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"no split {spec!r} in {builder.name}: its splits are "
            f"{_sizes(builder)}, sliced as in 'train[:5000]'."
        ) from error
    if size == 0:  # TensorFlow Datasets cannot read nothing
        raise ValueError(
            f"{spec!r} of {builder.name} has no examples: its splits are "
            f"{_sizes(builder)}."
        )
    split = StreamedSplit(
        builder, spec, size, encoded=is_encoded(builder.info.features["image"])
    )
    whole = sum(part.num_bytes for part in builder.info.splits.values())
    return _in_memory(split) if whole <= _MEMORY_LIMIT else split


def _decoded(batches: list[tf.Tensor], split: StreamedSplit) -> tf.Tensor:
    """All images: pixels where they are of one size and few, else as they are stored.

    To decode a small image takes longer than to augment it, and the pixels are the same
    in every epoch. Damaged images are left to the pipeline, which names them.
    """
    with tf.device("CPU"):
        images = tf.concat(batches, 0)
        sides = split.builder.info.features["image"].shape[:2]
        if not split.encoded or None in sides:
            return images
        shape = (*sides, 3)
        if split.size * math.prod(shape) > _DECODED_LIMIT:
            return images
        pixels = (
            tf.data.Dataset.from_tensor_slices(images)
            .map(
                without_autograph(lambda x: tf.ensure_shape(decode_image(x), shape)),
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
            .batch(4096)
        )
        try:
            return tf.concat(list(pixels), 0)
        except tf.errors.OpError:
            return images


def _size(builder: Any, spec: str) -> int:
    """The number of examples in a split, or in slices of splits."""
    import tensorflow_datasets as tfds

    splits = builder.info.splits
    parts = tfds.core.ReadInstruction.from_spec(spec).to_absolute(splits)
    # TensorFlow Datasets' own count is wrong for a slice that ends before it begins.
    if any(part.to is not None and part.to < (part.from_ or 0) for part in parts):
        return 0
    return splits[spec].num_examples


def _cut(builder: Any, spec: str, start: int, size: int) -> str:
    """The slices that hold `size` examples of slices of splits, from the `start`-th."""
    import tensorflow_datasets as tfds

    slices, splits = [], builder.info.splits
    for one in tfds.core.ReadInstruction.from_spec(spec).to_absolute(splits):
        first = one.from_ or 0
        last = splits[one.splitname].num_examples if one.to is None else one.to
        begin, end = first + max(start, 0), min(first + start + size, last)
        if begin < end:
            slices.append(f"{one.splitname}[{begin}:{end}]")
        start -= last - first
    return "+".join(slices)


def _sizes(builder: Any) -> str:
    return ", ".join(
        f"{name} ({split.num_examples} examples)"
        for name, split in builder.info.splits.items()
    )


def _in_memory(split: StreamedSplit) -> IndexedSplit:
    try:
        batches = list(split.references(None).map(split.fetch).batch(4096))
    except tf.errors.OpError as error:
        raise ValueError(
            f"the files of {split.builder.name} in {split.builder.data_dir!r} cannot "
            f"be read: {error.message.splitlines()[0]}"
        ) from error
    images = _decoded([batch["image"] for batch in batches], split)
    labels = tf.concat([batch["label"] for batch in batches], 0)
    unlabelled = int(np.sum(labels.numpy() < 0))
    if unlabelled:
        raise ValueError(
            f"{unlabelled} of the {split.size} examples of {split.spec!r} of "
            f"{split.builder.name} have no label (-1), as those of unpublished tests."
        )
    return IndexedSplit(
        np.arange(len(labels)),
        lambda index: (tf.gather(images, index), tf.gather(labels, index)),
        dataset_labels=labels.numpy(),
    )
