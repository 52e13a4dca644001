"""BMP, decoded by operations of a graph.

TensorFlow's own operation gives the indices of a palette as grey levels, and reads
compressed images and any bit fields as if they were plain pixels.
Source: Microsoft, BITMAPINFOHEADER.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from scalenet_tf.decoding.formats import MAX_PIXELS

_FILE_HEADER = 14  # bytes
_MASKS = (0xFF0000, 0xFF00, 0xFF)  # of red, green, blue
_COLOURS = 256


class _Header(NamedTuple):
    """Fields of the headers, int32."""

    pixels: tf.Tensor  # where they start in the file
    size: tf.Tensor
    width: tf.Tensor
    height: tf.Tensor
    bits: tf.Tensor
    compression: tf.Tensor
    colours: tf.Tensor
    masks: tf.Tensor

    @property
    def shape(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Rows, and bytes of each, filled up to a multiple of four; int64."""
        width, bits = tf.cast(self.width, tf.int64), tf.cast(self.bits, tf.int64)
        rows = tf.abs(tf.cast(self.height, tf.int64))
        return rows, (width * bits + 31) // 32 * 4


def decode_bmp(data: tf.Tensor) -> tf.Tensor:
    """Decodes plain pixels of 1, 4 and 8 bits with a palette, of 24 and of 32.

    Returns:
        `(height, width, 3)` uint8; a fourth channel is dropped.

    Raises:
        tf.errors.InvalidArgumentError: It is of another kind, or cut off.
    """
    header = _read(data)
    with tf.control_dependencies(_checks(header, tf.strings.length(data))):
        rows, row = header.shape
        start = tf.cast(header.pixels, tf.int64)
        stored = tf.strings.substr(data, start, rows * row)
    stored = tf.reshape(tf.io.decode_raw(stored, tf.uint8), (rows, row))
    width, bits = header.width, header.bits
    image = tf.cond(
        bits <= 8,
        lambda: tf.gather(_palette(data, header), _indices(stored, bits)[:, :width]),
        lambda: _true_colours(stored, width, bits // 8),
    )
    return image[:: tf.where(header.height > 0, -1, 1)]


def _read(data: tf.Tensor) -> _Header:
    # From the third byte on, fields and pairs of fields have four bytes.
    fields = tf.strings.substr(data, 2, 64)
    fields = tf.unstack(tf.io.decode_raw(fields, tf.int32, fixed_length=64))
    return _Header(
        pixels=fields[2],
        size=fields[3],
        width=fields[4],
        height=fields[5],
        bits=tf.bitwise.right_shift(fields[6], 16),
        compression=fields[7],
        colours=fields[11],
        masks=tf.stack(fields[13:]),
    )


def _checks(header: _Header, length: tf.Tensor) -> list[tf.Operation]:
    masked = (header.bits == 32) & tf.reduce_all(header.masks == _MASKS)
    kind = (
        (header.size >= 40)
        & (header.size != 64)  # of OS/2
        & tf.reduce_any(header.bits == [1, 4, 8, 24, 32])
        & ((header.compression == 0) | ((header.compression == 3) & masked))
    )
    (rows, row), width = header.shape, tf.cast(header.width, tf.int64)
    end = tf.cast(header.pixels, tf.int64) + rows * row
    whole = (
        (width > 0)
        & (rows > 0)
        & (rows * width <= MAX_PIXELS)
        & (header.pixels >= 0)
        & (end <= tf.cast(length, tf.int64))
    )
    return [
        tf.debugging.Assert(kind, ["a kind of BMP that is not decoded"]),
        tf.debugging.Assert(whole, ["a BMP that is damaged, cut off or too large"]),
    ]


def _palette(data: tf.Tensor, header: _Header) -> tf.Tensor:
    """The colours of a palette, `(256, 3)`; black where it has none."""
    most = tf.bitwise.left_shift(1, header.bits)
    some = (header.colours > 0) & (header.colours < most)
    count = tf.where(some, header.colours, most)
    stored = tf.strings.substr(data, _FILE_HEADER + header.size, count * 4)
    table = tf.io.decode_raw(stored, tf.uint8, fixed_length=4 * _COLOURS)
    return tf.reshape(table, (_COLOURS, 4))[:, 2::-1]


def _indices(stored: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Indices `(height, width)` into the palette, the first in the highest bits."""
    shifts = tf.cast(tf.range(8 - bits, -1, -bits), tf.uint8)
    mask = tf.cast(tf.bitwise.left_shift(1, bits) - 1, tf.uint8)
    indices = tf.bitwise.right_shift(stored[..., tf.newaxis], shifts) & mask
    return tf.cast(tf.reshape(indices, (tf.shape(stored)[0], -1)), tf.int32)


def _true_colours(
    stored: tf.Tensor, width: tf.Tensor, channels: tf.Tensor
) -> tf.Tensor:
    pixels = tf.reshape(stored[:, : width * channels], (-1, width, channels))
    return pixels[..., 2::-1]
