"""Operations that move pixels, to the nearest one; grey fills what is left empty.

Pixels are uint8 `(height, width, 3)`. The matrices are those of Pillow's
`Image.transform(..., Image.Transform.AFFINE)`: from a place in the result to its place
in the image, in pixels.
"""

from __future__ import annotations

import math

import tensorflow as tf

_GREY = 128.0


def shear_x(pixels: tf.Tensor, amount: tf.Tensor) -> tf.Tensor:
    """Moves each row to the left by `amount` times its distance from the top."""
    return _moved(pixels, (1.0, amount, 0.0), (0.0, 1.0, 0.0))


def shear_y(pixels: tf.Tensor, amount: tf.Tensor) -> tf.Tensor:
    """Moves each column up by `amount` times its distance from the left."""
    return _moved(pixels, (1.0, 0.0, 0.0), (amount, 1.0, 0.0))


def translate_x(pixels: tf.Tensor, amount: tf.Tensor) -> tf.Tensor:
    """Moves the image to the left by whole pixels."""
    return _moved(pixels, (1.0, 0.0, tf.round(amount)), (0.0, 1.0, 0.0))


def translate_y(pixels: tf.Tensor, amount: tf.Tensor) -> tf.Tensor:
    """Moves the image up by whole pixels."""
    return _moved(pixels, (1.0, 0.0, 0.0), (0.0, 1.0, tf.round(amount)))


def rotate(pixels: tf.Tensor, degrees: tf.Tensor) -> tf.Tensor:
    """Turns the image about its centre, counter-clockwise."""
    angle = degrees * (-math.pi / 180.0)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    height, width = tf.unstack(tf.cast(tf.shape(pixels)[:2], tf.float32) / 2.0)
    left = width - cosine * width - sine * height
    top = height + sine * width - cosine * height
    return _moved(pixels, (cosine, sine, left), (-sine, cosine, top))


def _moved(pixels: tf.Tensor, x: tuple, y: tuple) -> tf.Tensor:
    """Takes each pixel from `(x, y)`, each three factors of a place in the result."""
    matrix = []
    for along_x, along_y, offset in (x, y):
        # Pillow's places are the middles of pixels, TensorFlow's their numbers.
        matrix += [along_x, along_y, offset + 0.5 * (along_x + along_y) - 0.5]
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels[None],
        transforms=tf.stack([*map(_number, matrix), *map(_number, (0.0, 0.0))])[None],
        output_shape=tf.shape(pixels)[:2],
        fill_value=_GREY,
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )
    return tf.ensure_shape(moved[0], pixels.shape)


def _number(value: tf.Tensor | float) -> tf.Tensor:
    return tf.cast(value, tf.float32)
