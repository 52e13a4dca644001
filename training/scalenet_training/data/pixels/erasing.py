"""Random erasing: a rectangle of noise.

Source: Zhong et al., "Random Erasing Data Augmentation", 2020; areas, aspect ratios and
random values are the paper's.
"""

from __future__ import annotations

import tensorflow as tf

_AREA = (0.02, 0.4)
_ASPECT = (0.3, 1 / 0.3)
_ATTEMPTS = 10  # rectangles, of which the first that fits is taken


def erase(pixels: tf.Tensor, seed: tf.Tensor, probability: float) -> tf.Tensor:
    """Fills a random rectangle of random values, in some of the images.

    Args:
        pixels: From 0 to 255, `(height, width, 3)`.
        seed: `(2,)`.
        probability: Part of the images that are changed, but for the few in which none
            of 10 rectangles fits.
    """
    fold = tf.random.experimental.stateless_fold_in
    chance = tf.random.stateless_uniform((), fold(seed, 0))
    box = random_box(tf.shape(pixels)[:2], fold(seed, 1))

    def erased() -> tf.Tensor:
        top, left, height, width = tf.unstack(box)
        noise = tf.random.stateless_uniform(
            tf.stack([height, width, 3]), fold(seed, 2), 0, 256, tf.int32
        )
        rows = tf.range(tf.shape(pixels)[0])[:, None, None]
        columns = tf.range(tf.shape(pixels)[1])[None, :, None]
        inside = (rows >= top) & (rows < top + height)
        inside &= (columns >= left) & (columns < left + width)
        bottom = tf.shape(pixels)[0] - top - height
        right = tf.shape(pixels)[1] - left - width
        spread = tf.pad(noise, [[top, bottom], [left, right], [0, 0]])
        return tf.where(inside, tf.cast(spread, pixels.dtype), pixels)

    changed = tf.cond(chance < probability, erased, lambda: pixels)
    return tf.ensure_shape(changed, pixels.shape)


def random_box(sides: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Top, left, height and width of a rectangle, int32; all 0 where none fits."""
    draws = tf.random.stateless_uniform((4, _ATTEMPTS), seed)
    areas = _AREA[0] + draws[0] * (_AREA[1] - _AREA[0])
    areas *= tf.cast(tf.reduce_prod(sides), tf.float32)
    aspects = tf.exp(_between(tf.math.log(_ASPECT), draws[1]))
    extents = tf.stack([tf.sqrt(areas * aspects), tf.sqrt(areas / aspects)], 1)
    extents = tf.cast(tf.round(extents), tf.int32)
    fits = tf.reduce_all((extents > 0) & (extents < sides), 1)
    first = tf.argmax(fits)  # of equal ones
    extent = tf.where(fits[first], extents[first], tf.zeros_like(sides))
    room = tf.cast(sides - extent + 1, tf.float32)
    corner = tf.cast(tf.floor(draws[2:, first] * room), tf.int32)
    return tf.concat([corner, extent], 0)


def _between(ends: tf.Tensor, parts: tf.Tensor) -> tf.Tensor:
    return ends[0] + parts * (ends[1] - ends[0])
