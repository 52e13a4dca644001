"""Some encoded images, of a split or of a folder: to verify and to calibrate with."""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf

from scalenet_tf.decoding import decode_image, why_undecodable
from scalenet_training.data.errors import data_errors
from scalenet_training.data.files.reading import read_file
from scalenet_training.data.files.walking import walk
from scalenet_training.data.splits import IndexedSplit, Split

_SEED = 0


def split_images(split: Split, count: int) -> list[bytes]:
    """Up to `count` images of a split: random, always the same ones.

    Images that are stored as arrays are encoded as PNG. A split that is not in memory
    gives its first ones: such data are shuffled where they are prepared.

    Raises:
        RunError: One cannot be decoded.
    """
    seed = (_SEED, 0) if isinstance(split, IndexedSplit) else None
    with data_errors(split):
        return [
            _encoded(split.fetch(reference)["image"])
            for reference in split.references(seed).take(count)
        ]


def _encoded(image: tf.Tensor) -> bytes:
    if image.dtype != tf.string:
        return tf.io.encode_png(image).numpy()
    decode_image(image)
    return image.numpy()


def folder_images(folder: str, count: int, option: str) -> list[bytes]:
    """Up to `count` images of a folder and those in it: random, always the same ones.

    Raises:
        ValueError: There is no such folder, it has no files, or one of these is no
            image; the message names the option.
        OSError: It cannot be read.
    """
    if not os.path.isdir(folder):
        raise ValueError(f"{option}: there is no folder {folder!r}.")
    files = sorted(walk(folder))
    if not files:
        raise ValueError(f"{option}: {folder!r} has no files.")
    order = np.random.default_rng(_SEED).permutation(len(files))
    return [_read(files[index], option) for index in order[:count]]


def _read(path: str, option: str) -> bytes:
    data = read_file(path)
    try:
        decode_image(tf.constant(data))
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(
            f"{option}: {path!r} cannot be decoded: {why_undecodable(data)}."
        ) from error
    return data
