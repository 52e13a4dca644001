"""How long a network takes for one image."""

from __future__ import annotations

import statistics
import time

import keras
import tensorflow as tf

_WARM_UP = 3
_CALLS = 20


def measure_latency(model: keras.Model, size: int) -> float:
    """Median of some calls with one image, in milliseconds, as a TensorFlow graph.

    Args:
        model: The network.
        size: Side of the image in pixels.
    """

    @tf.function
    def call(images: tf.Tensor) -> tf.Tensor:
        return model(images, training=False)

    images = tf.zeros((1, size, size, 3), keras.config.floatx())
    seconds = []
    for _ in range(_WARM_UP + _CALLS):
        began = time.perf_counter()
        call(images).numpy()
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds[_WARM_UP:])
