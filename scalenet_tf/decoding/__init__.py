"""Image files: which formats are decoded, their headers, and their pixels.

What decodes is imported when it is first asked for: formats and headers need no
TensorFlow, and `decode_array` needs none for the usual files.
"""

from typing import TYPE_CHECKING

from scalenet_tf.decoding.formats import DECODED_IN_WORDS, EXTENSIONS
from scalenet_tf.decoding.headers import (
    ImageFormatError,
    ImageHeader,
    read_header,
    why_undecodable,
)
from scalenet_tf.extras import deferred

if TYPE_CHECKING:
    from scalenet_tf.decoding.images import (
        are_plain,
        decode_image,
        decode_part,
        decode_plain,
    )
    from scalenet_tf.decoding.pillow import decode_array
else:
    __getattr__ = deferred(
        __name__,
        {
            "scalenet_tf.decoding.images": (
                *("are_plain", "decode_image", "decode_part", "decode_plain"),
            ),
            "scalenet_tf.decoding.pillow": ("decode_array",),
        },
        by_tensorflow=("scalenet_tf.decoding.images",),
    )

__all__ = [
    "DECODED_IN_WORDS",
    "EXTENSIONS",
    "ImageFormatError",
    "ImageHeader",
    "are_plain",
    "decode_array",
    "decode_image",
    "decode_part",
    "decode_plain",
    "read_header",
    "why_undecodable",
]
