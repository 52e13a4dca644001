"""Compressed CSV files, in which names of files keep the bytes that they have."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from scalenet_tf.files import replaced

T = TypeVar("T")

_UNREADABLE = (
    *(OSError, EOFError, zlib.error),  # of a damaged archive
    *(ValueError, TypeError, StopIteration, csv.Error),
)
_MAX_BYTES = 2**30  # of tables; one of 14 million images has that


def encoded_rows(rows: Iterable[Sequence[Any]]) -> bytes:
    """The rows as CSV."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def write_rows(path: str, rows: Iterable[Sequence[Any]]) -> None:
    """Writes the rows to a file, which appears whole."""
    data = gzip.compress(encoded_rows(rows), 3, mtime=0)
    with replaced(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def read_rows(
    path: str, header: Sequence[str], convert: Callable[[list[str]], T]
) -> list[T] | None:
    """The converted rows after the header.

    Returns:
        None where the file cannot be read, has another header, or `convert` raises
        ValueError or TypeError.
    """
    try:
        with gzip.open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            return None
        text = data.decode("utf-8", "surrogateescape")
        rows = csv.reader(io.StringIO(text, newline=""))
        return list(map(convert, rows)) if next(rows) == [*header] else None
    except (
        OSError,
        EOFError,
        ValueError,
        TypeError,
        StopIteration,
        csv.Error,
        zlib.error,
    ):
        return None
