"""Requests to the signatures of a SavedModel, made of encoded images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from scalenet_tf.decoding import decode_image, why_undecodable
from scalenet_tf.export.interface import ExportError, Function
from scalenet_tf.preprocessing import EvaluationTransform

DEFAULT = "serving_default"  # the signature of normalised images


class Requests(NamedTuple):
    """Images as a signature takes them, and as the network then sees them."""

    input_name: str
    values: np.ndarray
    network_input: np.ndarray


def requests(
    images: Sequence[bytes], transform: EvaluationTransform
) -> dict[str, Requests]:
    """Makes the requests to each signature, one entry an image.

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


def in_parts(run: Function, largest: Callable[[np.ndarray], int]) -> Function:
    """A function that takes more images than `run` does, `largest` of a batch."""

    def run_parts(values: np.ndarray) -> Mapping[str, Any]:
        most = largest(values)
        if len(values) <= most:
            return run(values)
        parts = [run(values[at : at + most]) for at in range(0, len(values), most)]
        return {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}

    return run_parts


def _crop(index: int, data: bytes, transform: EvaluationTransform) -> np.ndarray:
    try:
        return transform.crop(decode_image(data)).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise ExportError(
            f"image {index} (counted from 0) cannot be decoded: {why_undecodable(data)}"
        ) from error
