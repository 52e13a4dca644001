"""The layers' operations on TensorFlow: see `operations.Operations`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from scalenet_tf.layers.operations import Normalized, Size

# The fused operation takes these and computes the statistics in float32.
_FUSED_TYPES = (tf.float32, tf.bfloat16, tf.float16)


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


def max_pool(x: tf.Tensor, window: int) -> tf.Tensor:
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


def resize_unknown(x: tf.Tensor, small: Size, size: Size) -> tf.Tensor:
    """Chooses by the sizes when the graph runs, in which both operations are."""
    remainders = [large % side for large, side in zip(size, small, strict=True)]
    resized = tf.cond(
        tf.reduce_all(tf.equal(tf.stack(remainders), 0)),
        lambda: repeat_pixels(x, size),
        lambda: interpolate(x, size),
    )
    static = [side if isinstance(side, int) else None for side in size]
    return tf.ensure_shape(resized, [x.shape[0], *static, x.shape[3]])


def repeat_pixels(x: tf.Tensor, size: Size) -> tf.Tensor:
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


def interpolate(x: tf.Tensor, size: Size) -> tf.Tensor:
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


def _is_fusable(x: tf.Tensor) -> bool:
    return len(x.shape) == 4 and x.dtype in _FUSED_TYPES


def _wide(variable: Any) -> tf.Tensor:
    """As the fused operation takes it: float32, also where variables have 16 bits."""
    return tf.cast(variable.value, tf.float32)


def normalize_by_moving(layer: Any, x: tf.Tensor) -> tf.Tensor | None:
    """The fused operation by the moving statistics; None where it takes no such map."""
    if not _is_fusable(x):
        return None
    return tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=_wide(layer.gamma),
        offset=_wide(layer.beta),
        mean=_wide(layer.moving_mean),
        variance=_wide(layer.moving_variance),
        epsilon=layer.epsilon,
        is_training=False,
    ).y


def normalize_by_batch(layer: Any, x: tf.Tensor, repeats: int) -> Normalized:
    """The fused operation where it can, else plain ones of the same results."""
    count = _count(x)
    if _is_fusable(x):
        empty = tf.zeros((0,), tf.float32)
        result = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=_wide(layer.gamma),
            offset=_wide(layer.beta),
            mean=empty,
            variance=empty,
            epsilon=layer.epsilon,
            is_training=True,
        )
        # It gives the unbiased variance of the map that it sees.
        biased = result.batch_variance * (_at_least_one(count - 1) / count)
        return _counted(result.y, result.batch_mean, biased, count * repeats)
    x = tf.cast(x, keras.backend.result_type(x.dtype, "float32"))
    mean, variance = tf.nn.moments(x, list(range(len(x.shape) - 1)))
    output = _normalized_by(layer, x, mean, variance)
    return _counted(output, mean, variance, tf.cast(count, x.dtype) * repeats)


def normalize_by_replicas(layer: Any, x: tf.Tensor, repeats: int) -> Normalized:
    """By the batches of all replicas of `tf.distribute`, each of as many examples."""
    context = tf.distribute.get_replica_context()
    replicas = 1 if context is None else context.num_replicas_in_sync
    if replicas == 1:
        return normalize_by_batch(layer, x, repeats)
    wide = tf.cast(x, keras.backend.result_type(x.dtype, "float32"))
    axes = list(range(len(wide.shape) - 1))
    mean = _mean_over_replicas(tf.reduce_mean(wide, axes))
    variance = _mean_over_replicas(tf.reduce_mean(tf.square(wide - mean), axes))
    count = tf.cast(_count(x) * replicas, wide.dtype)
    output = _normalized_by(layer, wide, mean, variance)
    return _counted(output, mean, variance, count * repeats)


def _normalized_by(
    layer: Any, x: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor
) -> tf.Tensor:
    offset, scale = (tf.cast(w.value, x.dtype) for w in (layer.beta, layer.gamma))
    output = tf.nn.batch_normalization(x, mean, variance, offset, scale, layer.epsilon)
    return tf.cast(output, layer.compute_dtype)


def _counted(
    output: tf.Tensor, mean: tf.Tensor, biased: tf.Tensor, count: tf.Tensor | float
) -> Normalized:
    return Normalized(output, mean, biased * (count / _at_least_one(count - 1)))


def _count(x: tf.Tensor) -> tf.Tensor | float:
    """How many values of each channel there are; a number where that is known."""
    if x.shape[:-1].is_fully_defined():
        return float(math.prod(x.shape[:-1]))
    return tf.cast(tf.size(x) // tf.shape(x)[-1], tf.float32)


def _at_least_one(count: tf.Tensor | float) -> tf.Tensor | float:
    return tf.maximum(count, 1) if tf.is_tensor(count) else max(count, 1.0)


@tf.custom_gradient
def _mean_over_replicas(values: tf.Tensor) -> tuple[tf.Tensor, Any]:
    context = tf.distribute.get_replica_context()

    def mean(own: tf.Tensor) -> tf.Tensor:
        # `all_reduce` looks for variables by walking the graph back from its result,
        # through the other replicas to their inputs, once for every call:
        # `stop_gradient` is where the walk ends. The gradient is given here.
        return context.all_reduce(tf.distribute.ReduceOp.MEAN, tf.stop_gradient(own))

    # The gradient of an all-mean is an all-mean.
    return mean(values), mean
