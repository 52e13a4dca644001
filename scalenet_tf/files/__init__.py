"""Files: written whole or not at all, and read within bounds."""

from scalenet_tf.files.untrusted import (
    MAX_BYTES,
    parse_json,
    read_bounded,
    read_json,
    unreadable,
)
from scalenet_tf.files.whole import TEMPORARY, is_in_use, made_folder, replaced

__all__ = [
    "MAX_BYTES",
    "TEMPORARY",
    "is_in_use",
    "made_folder",
    "parse_json",
    "read_bounded",
    "read_json",
    "replaced",
    "unreadable",
]
