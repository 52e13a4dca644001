"""Max-pooling by a factor and upsampling to a size, for the scales of an SA block.

Sizes may be known when the graph is built or only when it runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

Size = tuple[int | tf.Tensor, int | tf.Tensor]


def spatial_size(x: tf.Tensor) -> Size:
    """Height and width: numbers where they are known, else scalar tensors."""
    dynamic = tf.shape(x)
    height, width = (
        static if static is not None else dynamic[axis]
        for axis, static in ((1, x.shape[1]), (2, x.shape[2]))
    )
    return height, width


def _is_static(size: Size) -> bool:
    return all(isinstance(side, int) for side in size)


def max_pool_from(pooled: dict[int, tf.Tensor], scale: int) -> tf.Tensor:
    """Max-pools by `scale`, from the smallest map at hand that gives the same.

    A 4x4 pool is a 2x2 pool of the 2x2 pool, unless the map is so small that the
    window would be clamped.
    """
    size = spatial_size(pooled[1])
    source = 1
    if _is_static(size) and min(size) >= scale:
        source = max(done for done in pooled if scale % done == 0)
    return _max_pool(pooled[source], scale // source)


def _max_pool(x: tf.Tensor, window: int) -> tf.Tensor:
    """Max-pool with stride `window`, no padding, the window clamped to the map."""
    size = spatial_size(x)
    if _is_static(size):
        clamped = [min(window, side) for side in size]
        return tf.nn.max_pool2d(x, clamped, clamped, "VALID")
    # A window known only at run time has no TFLite kernel: enlarge the map instead.
    height, width = (tf.maximum(window - side, 0) for side in size)
    padded = tf.pad(
        x, [[0, 0], [0, height], [0, width], [0, 0]], constant_values=x.dtype.min
    )
    return tf.nn.max_pool2d(padded, window, window, "VALID")


def repeats_pixels(x: tf.Tensor, size: Size) -> bool:
    """Whether it is known that upsampling `x` to `size` repeats whole pixels."""
    small = spatial_size(x)
    return (
        _is_static(small)
        and _is_static(size)
        and all(large % side == 0 for large, side in zip(size, small, strict=True))
    )


def resize(x: tf.Tensor, size: Size) -> tf.Tensor:
    """Upsamples to `size`: nearest where both factors are integers, else bilinear."""
    small = spatial_size(x)
    if _is_static(small) and small == size:
        return x
    if _is_static(small) and _is_static(size):
        return _nearest(x, size) if repeats_pixels(x, size) else _bilinear(x, size)
    remainders = [large % side for large, side in zip(size, small, strict=True)]
    resized = tf.cond(
        tf.reduce_all(tf.equal(tf.stack(remainders), 0)),
        lambda: _nearest(x, size),
        lambda: _bilinear(x, size),
    )
    static = [side if isinstance(side, int) else None for side in size]
    return tf.ensure_shape(resized, [x.shape[0], *static, x.shape[3]])


def _nearest(x: tf.Tensor, size: Size) -> tf.Tensor:
    """Repeats pixels by integer factors.

    The operation converts to one TFLite kernel, but its own gradient has no XLA
    kernel on the CPU. The gradient is the sum over each window.
    """
    small = spatial_size(x)

    @tf.custom_gradient
    def repeat(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return _sum_windows(upstream, size, small)

        return tf.image.resize(x, size, "nearest"), gradient

    return repeat(x)


def _sum_windows(x: tf.Tensor, size: Size, small: Size) -> tf.Tensor:
    """Sums windows so that a map of `size` becomes one of `small`."""
    factors = [large // side for large, side in zip(size, small, strict=True)]
    if _is_static(size) and _is_static(small):
        return tf.nn.avg_pool2d(x, factors, factors, "VALID") * math.prod(factors)
    channels = x.shape[3]
    rows = tf.reshape(x, [-1, factors[0], size[1] * channels])
    columns = tf.reshape(tf.reduce_sum(rows, axis=1), [-1, factors[1], channels])
    return tf.reshape(tf.reduce_sum(columns, axis=1), [-1, *small, channels])


def _bilinear(x: tf.Tensor, size: Size) -> tf.Tensor:
    """Bilinear interpolation with half-pixel centres, in the precision of `x`."""
    if x.dtype == tf.float64:  # the operation computes in float32
        rows = _interpolate(x, axis=1, size=size[0])
        return _interpolate(rows, axis=2, size=size[1])
    return tf.cast(tf.image.resize(x, size, "bilinear"), x.dtype)


def _interpolate(x: tf.Tensor, axis: int, size: int | tf.Tensor) -> tf.Tensor:
    side = tf.shape(x)[axis]
    scale = tf.cast(side, x.dtype) / tf.cast(size, x.dtype)
    centres = (tf.cast(tf.range(size), x.dtype) + 0.5) * scale - 0.5
    centres = tf.clip_by_value(centres, 0.0, tf.cast(side - 1, x.dtype))
    lower = tf.cast(tf.floor(centres), tf.int32)
    upper = tf.minimum(lower + 1, side - 1)
    weight = centres - tf.floor(centres)
    weight = tf.reshape(weight, [-1, 1] if axis == 2 else [-1, 1, 1])
    return tf.gather(x, lower, axis=axis) * (1 - weight) + (
        tf.gather(x, upper, axis=axis) * weight
    )
