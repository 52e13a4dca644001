"""Prepared datasets of TensorFlow Datasets."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import tensorflow as tf

from scalenet_training.data.inventory import Inventory
from scalenet_training.data.source import Source
from scalenet_training.data.splits import IndexedSplit, Split, StreamedSplit

# Datasets of TensorFlow Datasets up to this size are held in memory, undecoded, which
# allows a full shuffle and passing over examples at no cost.
_MEMORY_LIMIT = 2**30


def open_prepared(name: str, data_dir: str | None, download: bool) -> Source:
    """Opens a dataset of TensorFlow Datasets that is on disk, or fetches it."""
    import tensorflow_datasets as tfds

    if data_dir is not None and not os.path.isdir(data_dir) and not download:
        raise ValueError(f"--data-dir: there is no folder {data_dir!r}.")
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise ValueError(
            "--dataset must be digits, an existing folder, or a name of TensorFlow "
            "Datasets such as cifar10, cifar100 or imagenet2012. "
            f"Received: {name!r}."
        ) from error
    if download:
        _download(builder)
    if not builder.is_prepared():
        raise ValueError(
            f"--dataset: {name} is not in {builder.data_dir!r}. Give the folder that "
            "holds it with --data-dir, or let it be fetched with --download."
        )
    features = dict(builder.info.features)
    label = features.get("label")
    if "image" not in features or not isinstance(label, tfds.features.ClassLabel):
        raise ValueError(
            f"--dataset: {name} must have the features image and label (a class). "
            f"It has: {', '.join(features)}."
        )
    return Source(
        name=name,
        class_names=tuple(label.names),
        split_names=tuple(builder.info.splits),
        open_split=lambda spec: _open_tensorflow_split(builder, spec),
        identity=_identity(builder),
        inventory=lambda: Inventory(
            tuple(label.names),
            {name: part.num_examples for name, part in builder.info.splits.items()},
        ),
    )


def _identity(builder: Any) -> dict[str, Any]:
    """What tells a prepared dataset from another: its version and its splits' sizes."""
    return {
        "kind": "tfds",
        "name": builder.info.full_name,
        "splits": {
            name: {"examples": part.num_examples, "bytes": part.num_bytes}
            for name, part in builder.info.splits.items()
        },
    }


def _download(builder: Any) -> None:
    try:
        builder.download_and_prepare()
    except Exception as error:  # of many kinds: network, disk, files to fetch by hand
        raise ValueError(
            f"--download: {builder.name} could not be prepared: {error}"
        ) from error


def _open_tensorflow_split(builder: Any, spec: str) -> Split:
    try:
        info = builder.info.splits[spec]
        size = info.num_examples
    except (KeyError, ValueError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"no split {spec!r} in {builder.name}: its splits are "
            f"{', '.join(builder.info.splits)}, sliced as in 'train[:5000]'."
        ) from error
    split = StreamedSplit(builder, spec, size)
    whole = sum(part.num_bytes for part in builder.info.splits.values())
    return _in_memory(split) if whole <= _MEMORY_LIMIT else split


def _in_memory(split: StreamedSplit) -> IndexedSplit:
    batches = list(split.references(None).batch(4096))
    images = tf.concat([batch["image"] for batch in batches], 0)
    labels = tf.concat([batch["label"] for batch in batches], 0)
    return IndexedSplit(
        np.arange(len(labels)),
        lambda index: (tf.gather(images, index), tf.gather(labels, index)),
    )
