"""Which image formats are decoded, and the names of those that are not.

Plain data, without TensorFlow: what the decoder, the check of headers, the commands
and the documentation say about formats stands here.
"""

from __future__ import annotations

DECODED = ("JPEG", "PNG", "BMP", "GIF")
DECODED_IN_WORDS = "JPEG, PNG, BMP or GIF"
EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif")

# 805 MB once decoded; TensorFlow's own limit is 2^29.
MAX_PIXELS = 2**28
# A GIF's canvas costs no bytes in the file, so that what is filled up is limited.
MAX_FILLED_CANVAS = 2**24

SIGNATURES = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "BMP": b"BM",
    "GIF": b"GIF8",
}

# Name -> (where, bytes) of each signature, of images that are not decoded.
_OTHER_IMAGES = {
    "WebP": ((8, b"WEBP"),),
    "TIFF": ((0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"), (0, b"MM\0+")),
    "AVIF": ((4, b"ftypavif"), (4, b"ftypavis")),
    "HEIC": tuple(
        (4, b"ftyp" + brand)
        for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
    ),
    "JPEG XL": ((0, b"\xff\x0a"), (0, b"\0\0\0\x0cJXL ")),
    "JPEG 2000": ((0, b"\0\0\0\x0cjP  "), (0, b"\xff\x4f\xff\x51")),
    "ICO": ((0, b"\0\0\1\0"),),
    "TGA": ((0, b"\0\0\2\0"), (0, b"\0\0\x0a\0"), (0, b"\0\0\3\0")),
    "PCX": ((0, b"\x0a\5\1"),),
    "PSD": ((0, b"8BPS"),),
    "XCF": ((0, b"gimp xcf"),),
    "OpenEXR": ((0, b"\x76\x2f\x31\x01"),),
    "Radiance HDR": ((0, b"#?RADIANCE"), (0, b"#?RGBE")),
    "DDS": ((0, b"DDS "),),
    "QOI": ((0, b"qoif"),),
    "MNG": ((0, b"\x8aMNG"),),
    "PNM": tuple((0, b"P%d%c" % (n, end)) for n in range(1, 8) for end in b" \n\r\t"),
    "SVG": ((0, b"<svg"),),
    "EPS": ((0, b"%!PS"), (0, b"\xc5\xd0\xd3\xc6")),
    "a camera's raw format": ((0, b"FUJIFILMCCD-RAW"), (4, b"ftypcrx ")),
}

# What folders of images have in them that is no image.
_NO_IMAGES = {
    "a PDF document": ((0, b"%PDF"),),
    "an HTML or XML text": ((0, b"<!"), (0, b"<html"), (0, b"<HTML"), (0, b"<?xml")),
    "a pointer of Git LFS": ((0, b"version https://git-lfs"),),
    "a ZIP archive": ((0, b"PK\3\4"),),
    "a gzip archive": ((0, b"\x1f\x8b"),),
    "a film": ((4, b"ftyp"), (0, b"\x1a\x45\xdf\xa3"), (8, b"AVI ")),
    "a NumPy array": ((0, b"\x93NUMPY"),),
}

# How many of a file's first bytes tell its format.
HEAD_BYTES = 24


def decoded_format(head: bytes) -> str | None:
    """The name of a format that is decoded, by a file's first bytes; else `None`."""
    for name, signature in SIGNATURES.items():
        if head.startswith(signature):
            return name
    return None


def why_not_decoded(head: bytes) -> str:
    """What a file is that has none of the formats, by its first bytes, and a way out.

    Args:
        head: The first `HEAD_BYTES` bytes; fewer where the file is shorter.
    """
    if not head:
        return "an empty file"
    for name, signatures in _OTHER_IMAGES.items():
        if _has(head, signatures):
            return f"{name}, which is not decoded; convert it to JPEG or PNG"
    for name, signatures in _NO_IMAGES.items():
        if _has(head, signatures):
            return f"{name}, not an image"
    return f"not a {DECODED_IN_WORDS} image"


def _has(head: bytes, signatures: tuple[tuple[int, bytes], ...]) -> bool:
    return any(head.startswith(mark, where) for where, mark in signatures)
