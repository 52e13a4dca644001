"""Names that others chose, as they are shown: in messages, tables and lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def printable(text: str) -> str:
    """A line as a terminal may get it: what is not printed appears as an escape.

    Control codes move the cursor, colour what follows or answer for the user; marks of
    direction show a name backwards.
    """
    return "".join(c if c.isprintable() or _is_space(c) else _escape(c) for c in text)


def shown(path: str) -> str:
    """A path as text: bytes that are not UTF-8 appear as a backslash, x and digits."""
    return "".join(_escape(c) if "\ud800" <= c <= "\udfff" else c for c in path)


def quoted(path: str) -> str:
    """A path for a message: on one line, in quotes."""
    return repr(shown(path)).replace(2 * "\\", "\\")


def some(names: Sequence[str], most: int = 3) -> str:
    """The first names, quoted, and how many more there are."""
    listed = ", ".join(map(quoted, names[:most]))
    more = len(names) - most
    return f"{listed} and {more:,} more" if more > 0 else listed


def differing(
    pairs: Mapping[str, tuple[Any, Any]], before: str = "there", between: str = ", "
) -> str:
    """What differs: "epochs (2 there, 3 now)".

    Args:
        pairs: Name -> value before and now.
        before: The word for where, or when, the first value was.
        between: Stands between two of them.
    """
    return between.join(
        f"{name} ({old!r} {before}, {new!r} now)" for name, (old, new) in pairs.items()
    )


def _is_space(character: str) -> bool:
    return character in "\u00a0\u3000"  # that do not break, and of Chinese


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
