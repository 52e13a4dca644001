"""The orientation that Exif gives an image: found in its file, and applied to it.

Operations of a graph alone, so that an exported model has them. The values 1 to 8 are
those of Exif's tag: 2 to 4 mirror or turn an image by half, 5 to 8 exchange its sides.
Orientation that XMP or other text of a file gives is passed over, as browsers do.
"""

from __future__ import annotations

import tensorflow as tf

from scalenet_tf.decoding.headers import (
    COLUMNS_REVERSED,
    ROWS_REVERSED,
    SIDES_EXCHANGED,
)
from scalenet_tf.decoding.reading import content, number

_MARKS = {"JPEG": r"Exif\x00\x00", "PNG": "eXIf"}  # regular expressions
_TAG = 0x0112
_LONG = 4  # type of a field with 32 bits
_FIELD = 12  # bytes
_LONGEST = 2**16  # bytes of Exif data: those of a segment
_MOST = 10**5  # segments or chunks to walk through: two seconds

# Marker and length of each segment that most writers give a JPEG without metadata.
_PLAIN_SEGMENTS = (
    (0xE0, 16),  # JFIF
    (0xDB, 67),  # tables of quantisation
    (0xDB, 67),
    (0xC0, 17),  # baseline, three channels
    (0xC4, 31),  # standard Huffman tables
    (0xC4, 181),
    (0xC4, 31),
    (0xC4, 181),
    (0xDA, 12),  # pixels
)


def _plain_header() -> tuple[list[int], list[int], int]:
    """Places and values of the bytes that are so in it, and where its pixels start."""
    places, values, start = [0, 1], [0xFF, 0xD8], 2
    for marker, length in _PLAIN_SEGMENTS:
        places += range(start, start + 4)
        values += [0xFF, marker, 0, length]
        start += 2 + length
    return places, values, start


def _has_plain_header(data: tf.Tensor) -> tf.Tensor:
    places, values, size = _plain_header()
    head = tf.io.decode_raw(data, tf.uint8, fixed_length=size)
    is_so = tf.gather(head, places, axis=-1) == tf.constant(values, tf.uint8)
    return tf.reduce_all(is_so, -1)


def may_have_orientation(data: tf.Tensor, is_jpeg: tf.Tensor) -> tf.Tensor:
    """Whether files can have an orientation: a cheap test that passes over none.

    They have none if their header is the usual one, or if the mark of Exif is nowhere
    in them. To walk through the segments costs more than to decode a small image.

    Args:
        data: Contents of files, strings of any shape.
        is_jpeg: Whether all of them are JPEG; else all of them are PNG.
    """
    length = tf.where(_has_plain_header(data), 0, 2**31 - 1)
    searched = tf.strings.substr(data, tf.zeros_like(length), length)
    mark = tf.where(is_jpeg, _MARKS["JPEG"], _MARKS["PNG"])
    rest = tf.strings.regex_replace(searched, mark, "", replace_global=False)
    return tf.strings.length(rest) < tf.strings.length(searched)


def exif_orientation(data: tf.Tensor, is_jpeg: tf.Tensor) -> tf.Tensor:
    """The orientation of a JPEG, or else a PNG, int32; 1 where it has none."""
    start = tf.cond(is_jpeg, lambda: _jpeg_exif(data), lambda: _png_exif(data))
    return _of_exif(content(data, start, _LONGEST))


def _jpeg_exif(data: tf.Tensor) -> tf.Tensor:
    """Where Exif's data are in a JPEG; at the end where there are none.

    Source: ITU-T T.81, annex B.
    """

    def unfinished(start: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        marker = number(data, start, tf.uint16, big_endian=True)
        return ~found & (marker > 0xFF00) & (marker != 0xFFDA)

    def following(start: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        head = content(data, start, 10)
        marker = number(head, 0, tf.uint16, big_endian=True)
        length = number(head, 2, tf.uint16, big_endian=True)
        found = (marker == 0xFFE1) & (content(head, 4, 6) == b"Exif\0\0")
        step = tf.where(marker == 0xFFFF, 1, 2 + length)  # 0xFF may fill
        return start + tf.where(found, 10, step), found

    first = (tf.constant(2), tf.constant(False))
    start, found = tf.while_loop(unfinished, following, first, maximum_iterations=_MOST)
    return tf.where(found, start, tf.strings.length(data))


def _png_exif(data: tf.Tensor) -> tf.Tensor:
    """Where Exif's data are in a PNG; at the end where there are none.

    Source: Portable Network Graphics, third edition.
    """

    def unfinished(start: tf.Tensor) -> tf.Tensor:
        name = content(data, start + 4, 4)
        return tf.reduce_all(name != [b"eXIf", b"IEND", b""])

    def following(start: tf.Tensor) -> tuple[tf.Tensor]:
        length = number(data, start, tf.int32, big_endian=True)
        return (start + 12 + tf.clip_by_value(length, 0, 2**30),)

    (start,) = tf.while_loop(
        unfinished, following, (tf.constant(8),), maximum_iterations=_MOST
    )
    found = content(data, start + 4, 4) == b"eXIf"
    return tf.where(found, start + 8, tf.strings.length(data))


def _of_exif(exif: tf.Tensor) -> tf.Tensor:
    """The orientation in Exif's data, of either byte order; 1 where it has none.

    Source: Exif 2.32, section 4.6.
    """
    is_big = content(exif, 0, 2) == b"MM"

    def halves(start: tf.Tensor | int, size: tf.Tensor | int) -> tf.Tensor:
        """Numbers of 16 bits; an odd byte, or what the data lack, is left out."""
        read = content(exif, start, size)
        whole = tf.strings.length(read) // 2 * 2
        swapped = tf.io.decode_raw(content(read, 0, whole), tf.uint16)
        numbers = tf.cast(swapped, tf.int32)
        return tf.where(is_big, numbers % 256 * 256 + numbers // 256, numbers)

    def long(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        return tf.where(is_big, first * 2**16 + second, second * 2**16 + first)

    start = tf.concat([halves(4, 4), [0, 0]], 0)
    start = long(start[0], start[1])
    start = tf.where((start < 8) | (start > _LONGEST), _LONGEST, start)
    count = tf.concat([halves(start, 2), [0]], 0)[0]
    fields = halves(start + 2, count * _FIELD)
    whole = tf.size(fields) // (_FIELD // 2) * (_FIELD // 2)
    fields = tf.reshape(fields[:whole], (-1, _FIELD // 2))
    is_long = fields[:, 1] == _LONG
    values = tf.where(is_long, long(fields[:, 4], fields[:, 5]), fields[:, 4])
    value = tf.concat([values[fields[:, 0] == _TAG], [1]], 0)[0]
    return tf.where((value >= 1) & (value <= 8), value, 1)


def oriented(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """A stored image, `(height, width, channels)`, as a viewer shows it."""
    exchanged, *mirrored = _parts(orientation)
    image = tf.transpose(image, tf.where(exchanged, [1, 0, 2], [0, 1, 2]))
    return tf.reverse(image, tf.boolean_mask([0, 1], mirrored))


def oriented_sides(sides: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Height and width of a stored image, int32, as a viewer shows it."""
    exchanged, *_ = _parts(orientation)
    return tf.where(exchanged, sides[::-1], sides)


def stored_window(
    window: tf.Tensor, sides: tf.Tensor, orientation: tf.Tensor
) -> tf.Tensor:
    """Where a part of the shown image is in the stored one.

    Args:
        window: Top, left, height, width of the part, int32.
        sides: Height and width of the shown image, int32.
        orientation: From 1 to 8.

    Returns:
        Top, left, height, width in the stored image.
    """
    exchanged, *mirrored = _parts(orientation)
    start, extent = window[:2], window[2:]
    start = tf.where(mirrored, sides - start - extent, start)
    start, extent = (tf.where(exchanged, pair[::-1], pair) for pair in (start, extent))
    return tf.concat([start, extent], 0)


def _parts(orientation: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Whether the sides are exchanged; then whether rows, columns are reversed."""
    exchanged, rows, columns = (
        tf.reduce_any(orientation == [*values])
        for values in (SIDES_EXCHANGED, ROWS_REVERSED, COLUMNS_REVERSED)
    )
    return exchanged, rows, columns
