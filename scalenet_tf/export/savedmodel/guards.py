"""Checks inside the graph of a SavedModel: a wrong request is refused, with reasons.

A server feeds what it is sent: it compares the type with the signature's, and not the
shape. Another rank in a convolution ends the process of the server.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from scalenet_tf.export.inputs import MAX_PIXELS, EncodedInput, ImageInput

_NO_DIMENSION = -1


def guarded_images(images: tf.Tensor, wanted: ImageInput) -> tf.Tensor:
    """The images, once their shape and values are what is wanted.

    A request whose are not fails with InvalidArgumentError when it is run.
    """
    fits = _shape_is_within(images, wanted.lowest_shape, wanted.highest_shape)
    if wanted.limits_pixels:
        fits &= tf.size(images, tf.int64) <= 3 * MAX_PIXELS
    if wanted.values is None:
        refusal = _shape_refusal(images, wanted.shape_refusal)
        return _passed(images, fits, refusal, wanted.shape)
    # One pass without a copy; NaN and infinities are in the sum, and the comparison
    # is false for them.
    size = tf.cast(tf.size(images), tf.float32)
    right = fits & (tf.nn.l2_loss(images) <= wanted.highest_mean_square / 2 * size)

    # Inlined, its operations would cost time where they are skipped.
    @tf.function(autograph=False, experimental_attributes={"_noinline": True})
    def reason() -> tf.Tensor:
        shape = tf.strings.format(wanted.shape_refusal, tf.shape(images))
        return tf.cond(fits, lambda: _values_reason(images, wanted), lambda: shape)

    refusal = tf.cond(right, lambda: "", lambda: reason())
    return _passed(images, right, [refusal], wanted.shape)


def guarded_strings(encoded: tf.Tensor, wanted: EncodedInput) -> tf.Tensor:
    """The encoded images, once they are a batch of an allowed size.

    A request that is not fails with InvalidArgumentError when it is run.
    """
    fits = _shape_is_within(encoded, (1,), (wanted.max_batch,))
    return _passed(
        encoded, fits, _shape_refusal(encoded, wanted.shape_refusal), (None,)
    )


def _shape_is_within(
    x: tf.Tensor, lowest: Sequence[int], highest: Sequence[int]
) -> tf.Tensor:
    """Whether a tensor has as many dimensions as bounds, each within its own.

    The rank is read from the sizes: TensorFlow's optimiser makes a constant of the
    operation for ranks, by what is declared, and of a comparison of sizes only where
    all are declared.
    """
    # One place more than bounds, so that a dimension too many is seen.
    places = len(lowest) + 1
    sizes = tf.concat([tf.shape(x, tf.int64), [_NO_DIMENSION] * places], 0)[:places]
    clipped = tf.clip_by_value(
        sizes,
        tf.constant((*lowest, _NO_DIMENSION), tf.int64),
        tf.constant((*highest, _NO_DIMENSION), tf.int64),
    )
    return tf.reduce_all(sizes == clipped)


def _shape_refusal(x: tf.Tensor, refusal: str) -> list[str | tf.Tensor]:
    # An assertion puts brackets around each part: no third one for the full stop.
    return [refusal.partition("{}")[0], tf.shape(x)]


def _passed(
    x: tf.Tensor,
    right: tf.Tensor,
    refusal: Sequence[str | tf.Tensor],
    shape: Sequence[int | None],
) -> tf.Tensor:
    """The tensor, where it is right; what follows depends on it as on data.

    By a bare assertion: `tf.debugging.Assert` makes a condition, which costs more than
    the check. The last operation checks the shape again, for runtimes that drop
    assertions.
    """
    asserted = tf.raw_ops.Assert(condition=right, data=refusal, summarize=32)
    with tf.control_dependencies([asserted]):
        return tf.ensure_shape(x, shape)


def _values_reason(images: tf.Tensor, wanted: ImageInput) -> tf.Tensor:
    rows = tf.reshape(images, (tf.shape(images)[0], -1))
    # Not the opposite comparison, which NaN would pass.
    right = tf.reduce_mean(tf.square(rows), 1) <= wanted.highest_mean_square
    index = tf.argmin(tf.cast(right, tf.int32))
    row = rows[index]
    return tf.cond(
        tf.reduce_all(tf.math.is_finite(row)),
        lambda: tf.strings.format(
            wanted.range_refusal, (index, tf.reduce_min(row), tf.reduce_max(row))
        ),
        lambda: tf.strings.format(wanted.number_refusal, index),
    )
