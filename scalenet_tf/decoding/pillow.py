"""Encoded images to pixels by Pillow: those of `decode_image`, without TensorFlow.

For models whose runtime is not TensorFlow, which takes seconds to import. Kinds of
files of which Pillow shows other pixels, and those that it alone refuses, are left to
TensorFlow, which is imported for the first of them.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np

from scalenet_tf.decoding.formats import DECODED
from scalenet_tf.decoding.headers import (
    COLUMNS_REVERSED,
    ROWS_REVERSED,
    SIDES_EXCHANGED,
    ImageFormatError,
    read_header,
)
from scalenet_tf.extras import import_extra


def decode_array(data: bytes) -> np.ndarray:
    """Decodes a JPEG, PNG, BMP or GIF (first frame), as `decode_image` does.

    Args:
        data: The content of a file.

    Returns:
        `(height, width, 3)` uint8.

    Raises:
        ImageFormatError: It is of another format, of a kind that is not decoded,
            damaged or cut off; says which.
        MissingPackageError: Pillow is not installed.
    """
    header = read_header(io.BytesIO(data))  # which limits the pixels, too
    image_format = header.format
    if image_format == "PNG" and not _is_whole_png(data):
        return _by_tensorflow(data, image_format)
    pillow = import_extra("PIL.Image", "pillow", "train")
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            pillow.open(io.BytesIO(data), formats=(*DECODED, "MPO")) as image,
        ):
            if image.mode == "CMYK":  # inverted or not, by marks that not all have
                return _by_tensorflow(data, image_format)
            if image.mode.startswith("I"):  # 16 bits: the higher 8
                values = np.asarray(image) >> 8
                pixels = np.stack([values.astype(np.uint8)] * 3, -1)
            else:
                pixels = np.asarray(image.convert("RGB"))
            # Not Pillow's way, which also follows XMP and texts of a PNG.
            return _oriented(pixels, header.orientation)
    except ImageFormatError:
        raise
    except Exception as error:
        # Of a GIF that is cut off TensorFlow may show the first frame. Errors of
        # another kind are limits, such as those of texts inside a PNG.
        if isinstance(error, OSError) and image_format != "GIF":
            raise _damaged(image_format) from error
        return _by_tensorflow(data, image_format)


def _oriented(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels as a viewer shows them, by a value of Exif's tag."""
    if orientation in SIDES_EXCHANGED:
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if orientation in ROWS_REVERSED else 1
    columns = -1 if orientation in COLUMNS_REVERSED else 1
    return np.ascontiguousarray(pixels[::rows, ::columns])


def _by_tensorflow(data: bytes, image_format: str) -> np.ndarray:
    import tensorflow as tf

    from scalenet_tf.decoding.images import decode_image

    try:
        return decode_image(tf.constant(data)).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise _damaged(image_format) from error


def _damaged(image_format: str) -> ImageFormatError:
    return ImageFormatError(f"a {image_format} that is damaged or cut off")


def _is_whole_png(data: bytes) -> bool:
    """Whether all chunks are there and have their checksums."""
    start = 8
    while start + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, start)
        end = start + 8 + length
        if end + 4 > len(data):
            return False
        (check,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(data[start + 4 : end]) != check:
            return False
        if name == b"IEND":
            return True
        start = end + 4
    return False
