"""The layers' operations by Keras' own: see `operations.Operations`.

For the backends on which every size is known when a layer computes. Statistics and
weights of interpolation are float32 or wider.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from scalenet_tf.backends import require_tensorflow
from scalenet_tf.layers.operations import Normalized, Size


def spatial_size(x: Any) -> Size:
    """Height and width of the map.

    Raises:
        BackendError: They are not known, as where a model is traced for any size.
    """
    height, width = x.shape[1:3]
    if not (isinstance(height, int) and isinstance(width, int)):
        require_tensorflow("an SA block with image sizes that are not known yet")
    return height, width


def max_pool(x: Any, window: int) -> Any:
    """Max-pool with stride `window`, no padding, the window clamped to the map."""
    clamped = tuple(min(window, side) for side in spatial_size(x))
    return ops.max_pool(x, clamped, clamped, "valid", data_format="channels_last")


def repeat_pixels(x: Any, size: Size) -> Any:
    """Repeats pixels by integer factors: a view, whose gradient is a sum."""
    (height, width), channels = spatial_size(x), x.shape[3]
    rows, columns = size[0] // height, size[1] // width
    view = ops.reshape(x, (-1, height, 1, width, 1, channels))
    shape = (ops.shape(view)[0], height, rows, width, columns, channels)
    return ops.reshape(ops.broadcast_to(view, shape), (-1, *size, channels))


def interpolate(x: Any, size: Size) -> Any:
    """Bilinear interpolation with half-pixel centres, in the type of `x`."""
    wide = ops.cast(x, keras.backend.result_type(x.dtype, "float32"))
    rows = _interpolate(wide, axis=1, size=size[0])
    return ops.cast(_interpolate(rows, axis=2, size=size[1]), x.dtype)


def _interpolate(x: Any, axis: int, size: int) -> Any:
    side = x.shape[axis]
    centres = np.clip((np.arange(size) + 0.5) * (side / size) - 0.5, 0, side - 1)
    lower = np.floor(centres).astype("int32")
    upper = np.minimum(lower + 1, side - 1)
    shape = (-1, 1) if axis == 2 else (-1, 1, 1)
    weight = ops.cast((centres - lower).reshape(shape), x.dtype)
    near, far = (ops.take(x, indices, axis=axis) for indices in (lower, upper))
    return near * (1 - weight) + far * weight


def resize_unknown(x: Any, small: Size, size: Size) -> Any:
    """Never called: `spatial_size` refuses sizes that are not known."""
    raise AssertionError(f"sizes are known here: {small}, {size}")


def normalize_by_moving(layer: Any, x: Any) -> None:
    """None: Keras' layer computes it."""
    return None


def normalize_by_batch(layer: Any, x: Any, repeats: int) -> Normalized:
    """By the mean, and the variance of the deviations from it.

    PyTorch's moments in Keras are E[x^2] - E[x]^2, which cancels in float32.
    """
    x = ops.cast(x, keras.backend.result_type(x.dtype, "float32"))
    axes = list(range(len(x.shape) - 1))
    mean = ops.mean(x, axes)
    deviations = x - mean
    biased = ops.mean(ops.square(deviations), axes)
    beta, gamma = (ops.cast(weight, x.dtype) for weight in (layer.beta, layer.gamma))
    output = deviations * (ops.rsqrt(biased + layer.epsilon) * gamma) + beta
    count = math.prod(x.shape[:-1]) * repeats
    variance = biased * (count / max(count - 1, 1))
    return Normalized(ops.cast(output, layer.compute_dtype), mean, variance)


def normalize_by_replicas(layer: Any, x: Any, repeats: int) -> Normalized:
    """Refused: replicas are those of `tf.distribute`.

    Raises:
        BackendError: In every case.
    """
    require_tensorflow("training with batch norms of all replicas (synchronized=True)")
    return normalize_by_batch(layer, x, repeats)  # one replica, on TensorFlow
