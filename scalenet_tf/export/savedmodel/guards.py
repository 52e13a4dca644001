"""Checks inside the graph of a SavedModel: a wrong request is refused, with reasons.

A server feeds what it is sent: it compares the type with the signature's, and not the
shape. Another rank in a convolution ends the process of the server.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from scalenet_tf.export.inputs import MAX_PIXELS, EncodedInput, ImageInput

_ENTRIES_TOLD = 100  # of a shape, or of an image each


def guarded_images(images: tf.Tensor, wanted: ImageInput) -> tf.Tensor:
    """The images, once their shape and values are what is wanted.

    A request whose are not fails with InvalidArgumentError when it is run.
    """
    # What follows may rely on the rank. No operation is cheaper.
    images = tf.ensure_shape(images, wanted.shape)
    if wanted.values is None:
        refusal = [f"{wanted.rule}. Received: shape", tf.shape(images)]
        return _passed(images, _is_within(images, wanted), refusal)
    # Few operations: each costs microseconds, whatever it computes. A mean is NaN or
    # infinite where a value is, and NaN of no images: the comparison is false then.
    means = tf.reduce_mean(tf.square(images), [1, 2, 3])
    right = tf.reduce_mean(means) < wanted.highest_mean_square
    if None in (wanted.height, wanted.width):
        right &= _is_within(images, wanted)
        right &= tf.size(images, tf.int64) <= 3 * MAX_PIXELS
        size, received = "shape", tf.shape(images)
    else:
        size, received = "a batch of size", tf.size(means)
        right &= received <= wanted.highest_shape[0]
    refusal = [
        f"{wanted.rule}, {wanted.values_rule}. Received: {size}",
        received,
        f"with means of the squares, at most {wanted.highest_mean_square:.1f}, of",
        means,
    ]
    return _passed(images, right, refusal)


def guarded_strings(encoded: tf.Tensor, wanted: EncodedInput) -> tf.Tensor:
    """The encoded images, once they are a batch of an allowed size.

    A request that is not fails with InvalidArgumentError when it is run.
    """
    encoded = tf.ensure_shape(encoded, (None,))
    size = tf.size(encoded)
    right = (size >= 1) & (size <= wanted.max_batch)
    return _passed(encoded, right, [wanted.shape_refusal.partition("{}")[0], [size]])


def _is_within(images: tf.Tensor, wanted: ImageInput) -> tf.Tensor:
    sizes = tf.shape(images, tf.int64)
    lowest = tf.constant(wanted.lowest_shape, tf.int64)
    highest = tf.constant(wanted.highest_shape, tf.int64)
    return tf.reduce_all(sizes == tf.clip_by_value(sizes, lowest, highest))


def _passed(
    x: tf.Tensor, right: tf.Tensor, refusal: Sequence[str | tf.Tensor | list[tf.Tensor]]
) -> tf.Tensor:
    """The tensor, where it is right; what follows depends on it as on data.

    By a bare assertion: `tf.debugging.Assert` makes a condition, which costs more than
    the check.
    """
    asserted = tf.raw_ops.Assert(condition=right, data=refusal, summarize=_ENTRIES_TOLD)
    with tf.control_dependencies([asserted]):
        return tf.identity(x)
