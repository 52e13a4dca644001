"""Operations that change colours. Pixels are uint8 `(height, width, 3)`.

They give what Pillow gives: ImageEnhance truncates where it blends, and ImageOps works
by tables of 256 values for each channel.
"""

from __future__ import annotations

import tensorflow as tf

_LUMA = (19595, 38470, 7471)  # of ITU-R 601, in 65,536ths
_LEVELS = 256


def brightness(pixels: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Black at factor 0, the image at 1, brighter above."""
    return _blended(tf.zeros((), tf.uint8), pixels, factor)


def contrast(pixels: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """The mean grey at factor 0, the image at 1, more contrast above."""
    mean = tf.reduce_mean(tf.cast(_grey(pixels), tf.float64))
    return _blended(tf.cast(mean + 0.5, tf.uint8), pixels, factor)


def color(pixels: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Grey at factor 0, the image at 1, stronger colours above."""
    return _blended(_grey(pixels), pixels, factor)


def sharpness(pixels: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Smoothed at factor 0, the image at 1, sharper above; the border stays."""
    values = tf.cast(pixels, tf.float32)
    rows = values[:-2] + values[1:-1] + values[2:]
    sums = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    smooth = (sums + 4.0 * values[1:-1, 1:-1]) / 13.0 + 0.5
    inner = _blended(tf.cast(smooth, tf.uint8), pixels[1:-1, 1:-1], factor)
    middle = tf.concat([pixels[1:-1, :1], inner, pixels[1:-1, -1:]], 1)
    return tf.concat([pixels[:1], middle, pixels[-1:]], 0)


def posterize(pixels: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Keeps the highest bits of each value; their number is rounded."""
    lost = tf.cast(8 - tf.cast(tf.round(bits), tf.int32), tf.uint8)
    return tf.bitwise.left_shift(tf.bitwise.right_shift(pixels, lost), lost)


def solarize(pixels: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """Inverts the values from the threshold on."""
    return tf.where(tf.cast(pixels, tf.float32) < threshold, pixels, 255 - pixels)


def autocontrast(pixels: tf.Tensor) -> tf.Tensor:
    """Stretches each channel, so that its values go from 0 to 255."""
    lowest = tf.cast(tf.reduce_min(pixels, (0, 1)), tf.float64)
    highest = tf.cast(tf.reduce_max(pixels, (0, 1)), tf.float64)
    flat = highest <= lowest
    scale = 255.0 / tf.where(flat, tf.ones_like(lowest), highest - lowest)
    levels = tf.range(_LEVELS, dtype=tf.float64)[:, None]
    stretched = tf.clip_by_value(levels * scale - lowest * scale, 0.0, 255.0)
    return _looked_up(pixels, tf.where(flat, levels, stretched))


def equalize(pixels: tf.Tensor) -> tf.Tensor:
    """Makes the histogram of each channel as even as a table of values can."""
    counts = tf.reshape(
        tf.raw_ops.DenseBincount(
            input=tf.reshape(_entries(pixels), [-1]),
            size=3 * _LEVELS,
            weights=tf.zeros(0, tf.int32),
        ),
        (3, _LEVELS),
    )
    highest = tf.cast(tf.reduce_max(pixels, (0, 1)), tf.int32)
    of_highest = tf.gather(counts, highest, batch_dims=1)
    step = ((tf.reduce_sum(counts, 1) - of_highest) // 255)[:, None]
    below = tf.cumsum(counts, axis=1, exclusive=True)
    even = tf.minimum((step // 2 + below) // tf.maximum(step, 1), 255)
    table = tf.where(step > 0, even, tf.range(_LEVELS)[None])
    return _looked_up(pixels, tf.transpose(table))


def _grey(pixels: tf.Tensor) -> tf.Tensor:
    """`(height, width, 1)`, as Pillow converts to mode L."""
    # Channel by channel: a sum over so short an axis takes twice as long.
    red, green, blue = tf.unstack(tf.cast(pixels, tf.int32), axis=-1)
    total = red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2] + 0x8000
    return tf.cast(tf.bitwise.right_shift(total, 16), tf.uint8)[..., None]


def _blended(start: tf.Tensor, pixels: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    start = tf.cast(start, tf.float32)
    values = start + factor * (tf.cast(pixels, tf.float32) - start)
    return tf.cast(tf.clip_by_value(values, 0.0, 255.0), tf.uint8)


def _entries(pixels: tf.Tensor) -> tf.Tensor:
    """The place of each value in the tables of three channels, one after another."""
    return tf.cast(pixels, tf.int32) + tf.constant([0, _LEVELS, 2 * _LEVELS])


def _looked_up(pixels: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    """Each value replaced by that of its channel in the table, `(256, 3)`."""
    table = tf.cast(tf.reshape(tf.transpose(table), [-1]), tf.uint8)
    return tf.gather(table, _entries(pixels))
