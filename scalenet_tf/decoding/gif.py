"""The first frame of a GIF on its canvas, decoded by operations of a graph.

TensorFlow's own operation leaves out the canvas around a frame, and makes transparent
pixels black. Here they have their colour in the palette, as those of a PNG do.
Source: GIF89a specification.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from scalenet_tf.decoding.formats import MAX_FILLED_CANVAS
from scalenet_tf.decoding.reading import content, number

_SCREEN = 13  # bytes before the palette of the file
_DESCRIPTOR = 10  # bytes before the palette of a frame
_MOST = 10**5  # blocks to walk through: two seconds


class _Blocks(NamedTuple):
    """A walk through the blocks before the first frame.

    Attributes:
        start: Where the next block starts, int32.
        inside: Whether it is one of an extension's.
        transparent: Index of the transparent colour; 0 where there is none.
    """

    start: tf.Tensor
    inside: tf.Tensor
    transparent: tf.Tensor


def decode_gif(data: tf.Tensor) -> tf.Tensor:
    """Decodes the first frame, on a canvas of the transparent or first colour.

    Returns:
        `(height, width, 3)` uint8.

    Raises:
        tf.errors.InvalidArgumentError: It has no frame, is damaged or too large.
    """
    screen = _SCREEN + _palette_bytes(number(data, 10, tf.uint8))
    blocks = _first_frame(data, screen)
    frame = blocks.start
    # A GIF without the extensions, whose only transparency they are, and the frame at
    # the canvas' corner.
    plain = tf.strings.join(
        [
            tf.strings.substr(data, 0, screen),
            b",\0\0\0\0",
            tf.strings.substr(data, tf.minimum(frame + 5, tf.strings.length(data)), -1),
        ]
    )
    image = tf.io.decode_image(plain, channels=3, expand_animations=False)
    image = tf.ensure_shape(image, (None, None, 3))
    return _on_canvas(data, image, frame, blocks.transparent)


def _palette_bytes(flags: tf.Tensor) -> tf.Tensor:
    size = 3 * tf.bitwise.left_shift(2, flags & 7)
    return tf.where(flags >= 0x80, size, 0)


def _first_frame(data: tf.Tensor, start: tf.Tensor) -> _Blocks:
    def unfinished(blocks: _Blocks) -> tf.Tensor:
        return blocks.inside | (content(data, blocks.start, 1) == b"!")

    def following(blocks: _Blocks) -> tuple[_Blocks]:
        start, inside, transparent = blocks
        length = number(data, start, tf.uint8)
        control = ~inside & (content(data, start + 1, 2) == b"\xf9\x04")
        flagged = control & (number(data, start + 3, tf.uint8) % 2 == 1)
        index = number(data, start + 6, tf.uint8)
        return (
            _Blocks(
                tf.where(inside, start + 1 + length, start + 2),
                ~inside | (length > 0),
                tf.where(flagged, index, transparent),
            ),
        )

    first = _Blocks(start, tf.constant(False), tf.constant(0))
    (blocks,) = tf.while_loop(unfinished, following, (first,), maximum_iterations=_MOST)
    has_frame = content(data, blocks.start, 1) == b","
    with tf.control_dependencies(
        [tf.debugging.Assert(has_frame, ["a GIF without a frame"])]
    ):
        return _Blocks(*map(tf.identity, blocks))


def _on_canvas(
    data: tf.Tensor, image: tf.Tensor, frame: tf.Tensor, transparent: tf.Tensor
) -> tf.Tensor:
    left, top = (number(data, frame + at, tf.uint16) for at in (1, 3))
    height, width = tf.unstack(tf.shape(image)[:2])
    canvas_width = tf.maximum(number(data, 6, tf.uint16), left + width)
    canvas_height = tf.maximum(number(data, 8, tf.uint16), top + height)
    size = tf.cast(canvas_width, tf.int64) * tf.cast(canvas_height, tf.int64)
    full = (canvas_width == width) & (canvas_height == height)
    fits = tf.debugging.Assert(
        full | (size <= MAX_FILLED_CANVAS), ["a GIF whose canvas is too large"]
    )

    def padded() -> tf.Tensor:
        local = _palette_bytes(number(data, frame + 9, tf.uint8))
        palette = tf.where(local > 0, frame + _DESCRIPTOR, _SCREEN)
        colour = content(data, palette + 3 * transparent, 3)
        colour = tf.io.decode_raw(colour, tf.uint8, fixed_length=3)
        around = [
            [top, canvas_height - top - height],
            [left, canvas_width - left - width],
            [0, 0],
        ]
        inside = tf.pad(tf.ones((height, width, 1), tf.bool), around)
        return tf.where(inside, tf.pad(image, around), colour)

    with tf.control_dependencies([fits]):
        return tf.cond(full, lambda: image, padded)
