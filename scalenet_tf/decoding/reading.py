"""Numbers in the bytes of a file, read by operations of a graph."""

from __future__ import annotations

import tensorflow as tf


def content(
    data: tf.Tensor, start: tf.Tensor | int, length: tf.Tensor | int
) -> tf.Tensor:
    """`length` bytes from `start` on; fewer, down to none, where the data end."""
    return tf.strings.substr(data, tf.minimum(start, tf.strings.length(data)), length)


def number(
    data: tf.Tensor,
    start: tf.Tensor | int,
    dtype: tf.DType,
    big_endian: bool = False,
) -> tf.Tensor:
    """An integer of one, two or four bytes, as int32; of zeros past the data's end."""
    read = content(data, start, dtype.size)
    values = tf.io.decode_raw(
        read, dtype, little_endian=not big_endian, fixed_length=dtype.size
    )
    return tf.cast(values[0], tf.int32)
