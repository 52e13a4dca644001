"""From encoded images to a network's input, with TensorFlow or without.

Both give the same pixels: those that evaluation sees.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from scalenet_tf.decoding.headers import ImageFormatError
from scalenet_tf.decoding.pillow import decode_array
from scalenet_tf.decoding.resizing import ResizeError
from scalenet_tf.export.runtime import available_cores
from scalenet_tf.preprocessing import EvaluationTransform

if TYPE_CHECKING:
    import tensorflow as tf


class Decoder(Protocol):
    """What makes the network's input."""

    def __call__(self, images: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """The input of the images that can be decoded, and which of all they are."""


class ArrayDecoder:
    """By Pillow and NumPy, on all cores; starts at once."""

    def __init__(self, transform: EvaluationTransform):
        self._transform = transform
        self._threads = concurrent.futures.ThreadPoolExecutor(available_cores())

    def __call__(self, images: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """As `Decoder`."""
        decoded = list(self._threads.map(self._attempt, images))
        valid = np.array([one is not None for one in decoded], bool)
        side = self._transform.image_size
        inputs = [one for one in decoded if one is not None]
        return np.array(inputs, np.float32).reshape(-1, side, side, 3), valid

    def _attempt(self, data: bytes) -> np.ndarray | None:
        try:
            return self._transform.of_array(decode_array(data))
        except (ImageFormatError, ResizeError):
            return None


class GraphDecoder:
    """By TensorFlow, in graphs."""

    def __init__(self, transform: EvaluationTransform):
        import tensorflow as tf

        from scalenet_tf.decoding import decode_image, decode_plain
        from scalenet_tf.export.requests import decode_batch

        # Each is traced when it is needed; the one for usual files in less time.
        self._plain, self._any = (
            tf.function(
                lambda encoded, decode=decode: decode_batch(decode, encoded, transform),
                input_signature=[tf.TensorSpec((None,), tf.string)],
            )
            for decode in (decode_plain, decode_image)
        )

    def __call__(self, images: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """As `Decoder`."""
        import tensorflow as tf

        from scalenet_tf.decoding import are_plain

        encoded: tf.Tensor = tf.constant(images, tf.string)
        decode = self._plain if are_plain(encoded) else self._any
        inputs, valid = (x.numpy() for x in decode(encoded))
        return inputs[valid], valid
