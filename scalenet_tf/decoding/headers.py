"""What the header of an image file says, read without decoding the image.

It accepts what `decode_image` decodes, the state of the pixels apart, and says of
everything else what it is. Without TensorFlow, since a folder has many files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from scalenet_tf.decoding.formats import (
    HEAD_BYTES,
    MAX_FILLED_CANVAS,
    MAX_PIXELS,
    SIGNATURES,
    decoded_format,
    why_not_decoded,
)

_ORIENTATION_TAG = 0x0112
# Values of the tag by which a stored image is shown with its sides exchanged, and then
# with its rows, its columns reversed.
SIDES_EXCHANGED = (5, 6, 7, 8)
ROWS_REVERSED = (3, 4, 7, 8)
COLUMNS_REVERSED = (2, 3, 6, 7)
_EXIF = b"Exif\0\0"
_STANDARD_MASKS = (0xFF0000, 0xFF00, 0xFF)
_PNG_DEPTHS = {
    0: (1, 2, 4, 8, 16),
    2: (8, 16),
    3: (1, 2, 4, 8),
    4: (8, 16),
    6: (8, 16),
}


class ImageFormatError(ValueError):
    """The file is not an image that can be decoded; says why, without its path."""


@dataclasses.dataclass(frozen=True)
class ImageHeader:
    """What the header says.

    Attributes:
        format: JPEG, PNG, BMP or GIF.
        width: In pixels, as a viewer shows the image.
        height: In pixels, as a viewer shows the image.
        orientation: From 1 to 8, by the values of Exif's tag; 1 where there is none.
    """

    format: str
    width: int
    height: int
    orientation: int = 1


def read_header(source: str | bytes | os.PathLike[str] | BinaryIO) -> ImageHeader:
    """Reads an image file's header.

    Args:
        source: A path, or a binary file that can seek and is at its start.

    Raises:
        ImageFormatError: It is not an image of a format that `decode_image` reads.
        OSError: The file cannot be read.
    """
    with _opened(source) as file:
        head = file.read(HEAD_BYTES)
        kind = decoded_format(head)
        if kind is None:
            raise ImageFormatError(why_not_decoded(head))
        file.seek(len(SIGNATURES[kind]))
        try:
            width, height, orientation = _READERS[kind](file)
        except (struct.error, EOFError) as error:
            raise ImageFormatError(f"a {kind} whose header is cut off") from error
    if min(width, height) < 1:
        raise ImageFormatError(f"a {kind} of {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise ImageFormatError(
            f"a {kind} of {width} x {height} pixels, more than the {MAX_PIXELS:,} that "
            "can be decoded; make it smaller"
        )
    if orientation in SIDES_EXCHANGED:
        width, height = height, width
    return ImageHeader(kind, width, height, orientation)


def why_undecodable(data: bytes) -> str:
    """Why `decode_image` fails on the content of a file, in a few words."""
    try:
        header = read_header(io.BytesIO(data))
    except ImageFormatError as error:
        return str(error)
    return f"a {header.format} that is damaged or cut off"


@contextlib.contextmanager
def _opened(source: str | bytes | os.PathLike[str] | BinaryIO) -> Iterator[BinaryIO]:
    if isinstance(source, str | bytes | os.PathLike):
        with open(source, "rb") as file:
            yield file
    else:
        yield source


def _unpack(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _read_jpeg(file: BinaryIO) -> tuple[int, int, int]:
    """Walks the segments, up to the pixels. Source: ITU-T T.81, annex B."""
    file.seek(2)
    size, exif = None, None
    while True:
        start, marker = _unpack(file, "BB")
        if start != 0xFF:
            raise ImageFormatError("a JPEG whose header is damaged")
        if marker == 0xFF:  # a byte that fills
            file.seek(-1, os.SEEK_CUR)
            continue
        if marker == 0xDA:
            break
        (length,) = _unpack(file, ">H")
        following = file.tell() + length - 2
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            size = _jpeg_frame(marker, *_unpack(file, ">BHHB"))
        elif marker == 0xF7:
            raise ImageFormatError("JPEG-LS, which is not decoded; convert it to PNG")
        elif marker == 0xE1 and exif is None:
            content = file.read(length - 2)
            exif = content if content.startswith(_EXIF) else None
        file.seek(following)
    if size is None:
        raise ImageFormatError("a JPEG whose header is damaged")
    blocks = (size[0] + 7) // 8 * ((size[1] + 7) // 8)
    if blocks > 8 * file.seek(0, os.SEEK_END):  # each takes a bit or more
        raise ImageFormatError("a JPEG that is cut off: decoded, it would be grey")
    return *size, _orientation(exif[len(_EXIF) :] if exif else b"")


def _jpeg_frame(
    marker: int, precision: int, height: int, width: int, channels: int
) -> tuple[int, int]:
    if marker in (0xC3, 0xC7, 0xCB, 0xCF):
        kind = "a lossless JPEG"
    elif marker >= 0xC9:
        kind = "a JPEG with arithmetic coding"
    elif marker >= 0xC5:
        kind = "a hierarchical JPEG"
    elif precision != 8:
        kind = f"a JPEG with {precision} bits a channel"
    elif channels not in (1, 3, 4):
        kind = f"a JPEG with {channels} channels"
    else:
        return width, height
    raise ImageFormatError(f"{kind}, which is not decoded; save it as PNG or as JPEG")


def _read_png(file: BinaryIO) -> tuple[int, int, int]:
    """Walks the chunks. Source: Portable Network Graphics, third edition."""
    length, name = _unpack(file, ">I4s")
    if name == b"CgBI":
        raise ImageFormatError("Apple's variant of PNG, which is not decoded; use PNG")
    width, height, depth, colours, *_ = _unpack(file, ">IIBBBBB")
    if name != b"IHDR" or length != 13 or depth not in _PNG_DEPTHS.get(colours, ()):
        raise ImageFormatError("a PNG whose header is damaged")
    exif = b""
    file.seek(4, os.SEEK_CUR)
    while len(start := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", start)
        if name == b"eXIf":
            exif = file.read(length)
            break
        file.seek(length + 4, os.SEEK_CUR)
    return width, height, _orientation(exif)


def _orientation(exif: bytes) -> int:
    """From 1 to 8; 1 where there is none. Source: Exif 2.32, section 4.6."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return 1
    (first,) = struct.unpack_from(order + "I", exif, 4)
    if len(exif) < first + 2:
        return 1
    (count,) = struct.unpack_from(order + "H", exif, first)
    for start in range(first + 2, min(first + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", exif, start)
        if tag == _ORIENTATION_TAG:
            layout = "I" if kind == 4 else "H"
            (value,) = struct.unpack_from(order + layout, exif, start + 8)
            return value if 1 <= value <= 8 else 1
    return 1


def _read_bmp(file: BinaryIO) -> tuple[int, int, int]:
    """Source: Microsoft, BITMAPINFOHEADER."""
    file.seek(14)
    (header_size,) = _unpack(file, "<I")
    if header_size in (12, 16, 64):
        raise _bmp_error("with a header of OS/2")
    width, height, _, bits, compression = _unpack(file, "<iiHHI")
    if header_size < 40 or width < 0:
        raise ImageFormatError("a BMP whose header is damaged")
    if compression in (1, 2):
        raise _bmp_error("with run-length encoding")
    if bits not in (1, 4, 8, 24, 32):
        raise _bmp_error(f"with {bits} bits a pixel")
    if compression == 3 and bits == 32:
        file.seek(54)
        if _unpack(file, "<III") != _STANDARD_MASKS:
            raise _bmp_error("with bit fields of its own")
    elif compression != 0:
        raise _bmp_error(f"with compression {compression}")
    return width, abs(height), 1


def _bmp_error(kind: str) -> ImageFormatError:
    return ImageFormatError(
        f"a BMP {kind}, which is not decoded; convert it to JPEG or PNG"
    )


def _read_gif(file: BinaryIO) -> tuple[int, int, int]:
    """Walks to the first frame. Source: GIF89a specification."""
    file.seek(6)
    width, height, flags, _, _ = _unpack(file, "<HHBBB")
    file.seek(3 << (flags & 7) + 1 if flags & 0x80 else 0, os.SEEK_CUR)
    while (introducer := file.read(1)) == b"!":
        file.seek(1, os.SEEK_CUR)
        while length := _unpack(file, "B")[0]:
            file.seek(length, os.SEEK_CUR)
    if introducer != b",":
        raise ImageFormatError("a GIF without a frame")
    left, top, frame_width, frame_height = _unpack(file, "<HHHH")
    if not frame_width or not frame_height:
        return 0, 0, 1
    width, height = max(width, left + frame_width), max(height, top + frame_height)
    full = (width, height) == (frame_width, frame_height)
    if not full and width * height > MAX_FILLED_CANVAS:
        raise ImageFormatError(
            f"a GIF with a frame of {frame_width} x {frame_height} pixels on a canvas "
            f"of {width} x {height}, more than {MAX_FILLED_CANVAS:,}; convert it to PNG"
        )
    return width, height, 1


# Width and height as they are stored, and the orientation.
_READERS = {"JPEG": _read_jpeg, "PNG": _read_png, "BMP": _read_bmp, "GIF": _read_gif}
