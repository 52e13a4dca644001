"""Requests to the signatures of a SavedModel, made of encoded images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from scalenet_tf.decoding import decode_image, why_undecodable
from scalenet_tf.export.interface import DEFAULT, ExportError
from scalenet_tf.preprocessing import EvaluationTransform

_DECODERS = 8  # images that are decoded at the same time, at most


class Requests(NamedTuple):
    """Images as a signature takes them, and as the network then sees them."""

    input_name: str
    values: np.ndarray
    network_input: np.ndarray


def requests(
    images: Sequence[bytes], transform: EvaluationTransform
) -> dict[str, Requests]:
    """Makes the requests to each signature, one entry per image.

    Raises:
        ExportError: An image cannot be decoded; the message names its index.
    """
    crops = [_crop(index, data, transform) for index, data in enumerate(images)]
    pixels = np.round(np.stack(crops)).astype(np.uint8)
    normalized = transform.normalize(np.stack(crops)).numpy().astype(np.float32)
    encoded = np.array(images, dtype=object)
    of_pixels = transform(pixels).numpy().astype(np.float32)
    return {
        DEFAULT: Requests("images", normalized, normalized),
        "serving_uint8": Requests("images", pixels, of_pixels),
        "serving_bytes": Requests("image_bytes", encoded, normalized),
        "features": Requests("images", normalized, normalized),
    }


def decode_batch(
    decode: Callable[[tf.Tensor], tf.Tensor],
    encoded: tf.Tensor,
    transform: EvaluationTransform,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The network's input for each image, and whether the image could be decoded.

    For graphs: each call makes a dataset, since a dataset can pass over an element that
    fails, and no operation decodes an image without failing the whole batch where it is
    corrupt.

    Args:
        decode: From the content of a file to pixels.
        encoded: The content of files, `(batch,)`.
        transform: What evaluation does to an image.
    """
    count = tf.size(encoded, tf.int64)

    def load(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = transform(decode(tf.gather(encoded, index)))
        return index, tf.cast(image, tf.float32)

    shape = (transform.image_size, transform.image_size, 3)
    decoded = tf.data.Dataset.range(count).map(load, num_parallel_calls=_DECODERS)
    # One row more, so that the batch is not empty where no image can be decoded.
    spare = tf.data.Dataset.from_tensors((count, tf.zeros(shape)))
    batch = decoded.ignore_errors().concatenate(spare).batch(count + 1)
    indices, images = batch.get_single_element()
    rows = tf.concat([[count + 1], tf.constant(shape, tf.int64)], 0)
    images = tf.scatter_nd(indices[:, tf.newaxis], images, rows)
    valid = tf.scatter_nd(indices[:, tf.newaxis], tf.ones_like(indices), rows[:1]) > 0
    return tf.ensure_shape(images[:count], (None, *shape)), valid[:count]


def _crop(index: int, data: bytes, transform: EvaluationTransform) -> np.ndarray:
    try:
        return transform.crop(decode_image(data)).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise ExportError(
            f"image {index} (counted from 0) cannot be decoded: {why_undecodable(data)}"
        ) from error
