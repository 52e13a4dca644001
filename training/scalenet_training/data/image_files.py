"""What the header of an image file says, before anything is decoded."""

from __future__ import annotations

import dataclasses

_FORMATS = frozenset({"JPEG", "MPO", "PNG", "BMP", "GIF"})


class ImageFormatError(ValueError):
    """The file is not an image that can be decoded; says why, without its path."""


@dataclasses.dataclass(frozen=True)
class ImageHeader:
    """What the header says.

    Attributes:
        format: As Pillow names it: JPEG, PNG, BMP, GIF.
        width: In pixels, as a viewer shows the image.
        height: In pixels, as a viewer shows the image.
    """

    format: str
    width: int
    height: int


def read_header(path: str | bytes) -> ImageHeader:
    """Reads an image file's header.

    Raises:
        ImageFormatError: It is not an image of a format that `decode_image` reads.
        OSError: The file cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            kind, (width, height) = image.format or "unknown", image.size
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ImageFormatError("not an image") from error
    if kind not in _FORMATS:
        raise ImageFormatError(f"{kind}, which is not one of {sorted(_FORMATS)}")
    return ImageHeader(kind, width, height)
