"""`scalenet_files`, by the name that it has in the library."""

from scalenet_files import (
    MAX_BYTES,
    TEMPORARY,
    made_folder,
    parse_json,
    read_bounded,
    read_json,
    replaced,
    unreadable,
)

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
