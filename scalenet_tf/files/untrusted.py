"""Files that are damaged, or that strangers wrote: read within bounds, or refused.

Of JSON, what Python's parser lets through and later code stumbles over is refused here
by one kind of error: nesting that ends in a RecursionError, numbers of thousands of
digits, names that occur twice, of which the parser silently takes the last.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

# A file of an architecture or a run has some kilobytes; Python's objects take up to
# 25 times as much memory as the text.
MAX_BYTES = 2**24
MAX_DEPTH = 64
MAX_DIGITS = 32
_MAX_REASON = 300  # characters; some libraries print whole files


@contextlib.contextmanager
def unreadable(what: str, kind: type[ValueError] = ValueError) -> Iterator[None]:
    """Makes one error of all that libraries raise for a damaged file.

    zipfile, zlib, h5py, Keras and the runtimes have no class in common for what they
    stumble over: KeyError, TypeError, RuntimeError, UnicodeDecodeError and others.

    Args:
        what: How the message begins; the beginning of the reason follows.
        kind: The error.

    Raises:
        ValueError: Of the kind.
    """
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:_MAX_REASON].rstrip(".")
        raise kind(f"{what} ({reason or type(error).__name__}).") from error


def read_json(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> Any:
    """The content of a JSON file in UTF-8.

    Args:
        path: The file.
        max_bytes: Its largest size.

    Raises:
        OSError: It cannot be read.
        ValueError: It is larger than `max_bytes`, or not such JSON as `parse_json`
            takes. The message does not name the file.
    """
    return parse_json(read_bounded(path, max_bytes), max_bytes)


def read_bounded(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a file that must not be large.

    Raises:
        OSError: It cannot be read.
        ValueError: It is larger than `max_bytes`.
    """
    with open(path, "rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"it must have at most {max_bytes:,} bytes, and has more")
    return data


def parse_json(data: bytes | str, max_bytes: int = MAX_BYTES) -> Any:
    """The content of a JSON text.

    Raises:
        ValueError: It is not JSON in UTF-8, has more than `max_bytes`, more than
            `MAX_DEPTH` levels, a whole number of more than `MAX_DIGITS` digits, or a
            name twice in an object.
    """
    if len(data) > max_bytes:
        raise ValueError(f"it must have at most {max_bytes:,} bytes, and has more")
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        content = json.loads(text, object_pairs_hook=_unique, parse_int=_short_int)
    except RecursionError:
        raise _too_deep() from None
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [part for value in level for part in _containers(value)]
        if not level:
            return content
    raise _too_deep()


def _containers(value: Any) -> list[Any]:
    """The objects and lists right inside a value."""
    parts = value.values() if isinstance(value, dict) else value
    inside = isinstance(value, dict | list)
    return [part for part in parts if isinstance(part, dict | list)] if inside else []


def _too_deep() -> ValueError:
    return ValueError(f"it must have at most {MAX_DEPTH} levels, and has more")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise ValueError(f"it has the field {name!r} twice in one object")
        content[name] = value
    return content


def _short_int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(
            f"whole numbers must have at most {MAX_DIGITS} digits, and one has "
            f"{len(text)}"
        )
    return int(text)
