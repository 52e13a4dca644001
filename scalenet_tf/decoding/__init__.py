"""Image files: which formats are decoded, their headers, and their pixels."""

from scalenet_tf.decoding.formats import DECODED_IN_WORDS, EXTENSIONS
from scalenet_tf.decoding.headers import (
    ImageFormatError,
    ImageHeader,
    read_header,
    why_undecodable,
)
from scalenet_tf.decoding.images import (
    are_plain,
    decode_image,
    decode_part,
    decode_plain,
)

__all__ = [
    "DECODED_IN_WORDS",
    "EXTENSIONS",
    "ImageFormatError",
    "ImageHeader",
    "are_plain",
    "decode_image",
    "decode_part",
    "decode_plain",
    "read_header",
    "why_undecodable",
]
