"""Files: written whole or not at all, and read within bounds.

Beside the library, since importing that imports TensorFlow, which takes seconds: what
only reads what runs have left need not wait for it. Imports Python's own modules alone.
"""

from scalenet_files.untrusted import (
    MAX_BYTES,
    parse_json,
    read_bounded,
    read_json,
    unreadable,
)
from scalenet_files.whole import TEMPORARY, made_folder, replaced

__all__ = [
    "MAX_BYTES",
    "TEMPORARY",
    "made_folder",
    "parse_json",
    "read_bounded",
    "read_json",
    "replaced",
    "unreadable",
]
