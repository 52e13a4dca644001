"""Encoded images to pixels, as a viewer shows them, by operations of a graph.

Training, evaluation, prediction and exported models decode by these functions, so that
all of them see the same pixels: those of Pillow after `exif_transpose` and `convert`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from scalenet_tf.decoding.bmp import decode_bmp
from scalenet_tf.decoding.formats import DECODED_IN_WORDS, SIGNATURES
from scalenet_tf.decoding.gif import decode_gif
from scalenet_tf.decoding.orientation import (
    exif_orientation,
    may_have_orientation,
    oriented,
    oriented_sides,
    stored_window,
)

# TensorFlow's default is faster by some percent, and a grey level off on average.
_DCT = "INTEGER_ACCURATE"

# For what is rare: inlined, its operations would cost time where they are skipped.
_rare = functools.partial(
    tf.function, autograph=False, experimental_attributes={"_noinline": True}
)


def decode_image(data: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG, PNG, BMP or GIF (first frame), as a viewer shows it.

    Turned and mirrored as Exif says, palettes looked up, the higher 8 of 16 bits,
    transparency dropped: the colour that a transparent pixel has in the file.

    Args:
        data: The content of a file, a scalar string.

    Returns:
        `(height, width, 3)` uint8.

    Raises:
        tf.errors.InvalidArgumentError: It is of another format, of a kind that is not
            decoded, damaged or cut off; `why_undecodable` says which.
    """
    image = tf.cond(
        are_plain(data), lambda: decode_plain(data), lambda: _decode_any(data)
    )
    return tf.ensure_shape(image, (None, None, 3))


def are_plain(data: tf.Tensor) -> tf.Tensor:
    """Whether files are all JPEG or all PNG, and stored as they are shown.

    Args:
        data: Contents of files, strings of any shape.
    """
    is_jpeg, is_png = _are(data, "JPEG"), _are(data, "PNG")
    turned = tf.reduce_any(may_have_orientation(data, is_jpeg))
    return (is_jpeg | is_png) & ~turned


def decode_plain(data: tf.Tensor) -> tf.Tensor:
    """As `decode_image`, of a file for which `are_plain` is true: fewer operations."""
    # The operation takes PNG too.
    return tf.io.decode_jpeg(data, channels=3, dct_method=_DCT)


def decode_part(data: tf.Tensor, choose: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Decodes a part of an image; of a JPEG nothing else, which is faster.

    Args:
        data: As for `decode_image`.
        choose: From height and width, int32, of the image as it is shown, to top,
            left, height and width of the part, int32.

    Returns:
        `(height, width, 3)` uint8: what slicing the decoded image gives, but for the
        colours of a JPEG within 8 pixels of an edge.

    Raises:
        tf.errors.InvalidArgumentError: As for `decode_image`.
    """

    def of_jpeg() -> tf.Tensor:
        window = choose(tf.io.extract_jpeg_shape(data)[:2])
        return _decode_jpeg_part(data, window)

    def of_turned_jpeg() -> tf.Tensor:
        orientation = exif_orientation(data, is_jpeg)
        stored = tf.io.extract_jpeg_shape(data)[:2]
        sides = oriented_sides(stored, orientation)
        window = stored_window(choose(sides), sides, orientation)
        return oriented(_decode_jpeg_part(data, window), orientation)

    def of_other() -> tf.Tensor:
        image = decode_image(data)
        top, left, height, width = tf.unstack(choose(tf.shape(image)[:2]))
        return image[top : top + height, left : left + width]

    @_rare
    def of_any() -> tf.Tensor:
        return tf.cond(is_jpeg, of_turned_jpeg, of_other)

    is_jpeg = _are(data, "JPEG")
    plain = is_jpeg & ~may_have_orientation(data, is_jpeg)
    image = tf.cond(plain, of_jpeg, lambda: of_any())
    return tf.ensure_shape(image, (None, None, 3))


def _are(data: tf.Tensor, format_name: str) -> tf.Tensor:
    signature = SIGNATURES[format_name]
    return tf.reduce_all(tf.strings.substr(data, 0, len(signature)) == signature)


def _decode_jpeg_part(data: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_and_crop_jpeg(data, window, channels=3, dct_method=_DCT)


@_rare(input_signature=[tf.TensorSpec((), tf.string)])
def _decode_any(data: tf.Tensor) -> tf.Tensor:
    """An image of any format, with its orientation."""

    def decode_oriented() -> tf.Tensor:
        orientation = exif_orientation(data, _are(data, "JPEG"))
        return oriented(decode_plain(data), orientation)

    def refuse() -> tf.Tensor:
        message = f"not a {DECODED_IN_WORDS} image"
        with tf.control_dependencies([tf.debugging.Assert(False, [message])]):
            return tf.zeros((1, 1, 3), tf.uint8)

    branches = (
        (_are(data, "JPEG") | _are(data, "PNG"), decode_oriented),
        (_are(data, "BMP"), lambda: decode_bmp(data)),
        (_are(data, "GIF"), lambda: decode_gif(data)),
        (True, refuse),
    )
    matches = tf.stack([tf.cast(match, tf.int32) for match, _ in branches])
    first = tf.argmax(matches, output_type=tf.int32)
    return tf.switch_case(first, [decode for _, decode in branches])
