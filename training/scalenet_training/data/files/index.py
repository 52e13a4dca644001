"""What is known of image files, kept so that unchanged files are not opened again."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import tensorflow as tf

import scalenet_tf
from scalenet_tf.decoding import ImageFormatError, decode_image, read_header
from scalenet_training.data.files.listing import ImageFile
from scalenet_training.data.files.rows import read_rows, write_rows

INDEX_FILE = "index.csv.gz"

# An index of another version, which may read images otherwise, is not used.
_HEADER = (f"scalenet_tf {scalenet_tf.__version__}", "index 1")
_THREADS = 16
_BATCH = 8192  # files whose results are held at a time
_SHOWN_FROM = 1000  # files; fewer are read before a bar can be looked at
_HEAD_BYTES = 4096
_blake2b = functools.partial(hashlib.blake2b, digest_size=16)
# The time of an entry that never holds: its file is opened again the next time.
_NEVER = -1

T = TypeVar("T")


class Entry(NamedTuple):
    """What is known of a file, as long as its size and its time are these.

    Attributes:
        size: In bytes.
        mtime_ns: When the file was last changed, in nanoseconds.
        format: As Pillow names it; "" for what is not an image.
        width: In pixels.
        height: In pixels.
        problem: Why the file cannot be used; "" where it can.
        decoded: Whether its body was decoded, too.
        digest: Digest of its bytes; "" until `Index.digests` is asked for it.
        head: Digest of its first 4 KiB; "" where not known.
    """

    size: int
    mtime_ns: int
    format: str = ""
    width: int = 0
    height: int = 0
    problem: str = ""
    decoded: bool = False
    digest: str = ""
    head: str = ""


class Index:
    """Files by their names, and what is known of each.

    Attributes:
        changed: Whether it differs from what was loaded.
        touched: Names of files with another time than before, but the same size and,
            as far as is known, the same first bytes.
        replaced: Names of files of the same size as before with other first bytes.
    """

    def __init__(self, entries: Mapping[str, Entry] | None = None):
        self._entries = dict(entries or {})
        self.changed = False
        self.touched: list[str] = []
        self.replaced: list[str] = []

    @classmethod
    def load(cls, path: str | None) -> Index:
        """Reads an index; an empty one where there is none that can be read."""
        rows = read_rows(path, _HEADER, _named_entry) if path else None
        return cls(dict(rows or ()))

    def save(self, path: str) -> None:
        """Writes the index."""
        rows = ((name, *entry) for name, entry in self._entries.items())
        write_rows(path, itertools.chain([_HEADER], rows))
        self.changed = False

    def examine(self, files: Sequence[ImageFile], bodies: bool) -> list[Entry]:
        """Opens the files that are new or have changed.

        Args:
            files: All files of the dataset; others are forgotten.
            bodies: Whether to decode the files, or to read their headers alone.

        Returns:
            An entry for each file.
        """
        before, self._entries = self._entries, {}
        stale = []
        for file in files:
            entry = before.get(file.name)
            if entry is not None and _holds(entry, file, bodies):
                self._entries[file.name] = entry
            else:
                stale.append(file)
        read = _decoded_entry if bodies else _header_entry
        what = "Decoding images" if bodies else "Reading image headers"
        for file, entry in zip(stale, _in_threads(read, stale, what), strict=True):
            self._entries[file.name] = entry
            self._compare(file, before.get(file.name), entry)
        self.changed |= bool(stale) or len(before) != len(self._entries)
        return [self._entries[file.name] for file in files]

    def _compare(self, file: ImageFile, before: Entry | None, now: Entry) -> None:
        """Notes a file that has another time than before and the same size."""
        if before is None or before.size != file.size:
            return
        if before.mtime_ns in (_NEVER, file.mtime_ns):
            return
        other = before.head and now.head and before.head != now.head
        (self.replaced if other else self.touched).append(file.name)

    def digests(self, files: Sequence[ImageFile]) -> list[str]:
        """A digest of the bytes of each file; the files must have been examined.

        Raises:
            OSError: A file cannot be read.
        """
        new = [file for file in files if not self._entries[file.name].digest]
        what = "Comparing images of equal size"
        for file, digest in zip(new, _in_threads(_digest, new, what), strict=True):
            entry = self._entries[file.name]
            self._entries[file.name] = entry._replace(digest=digest)
            self.changed = True
        return [self._entries[file.name].digest for file in files]


def _holds(entry: Entry, file: ImageFile, bodies: bool) -> bool:
    same = (entry.size, entry.mtime_ns) == (file.size, file.mtime_ns)
    return same and (entry.decoded or not bodies or bool(entry.problem))


def _header_entry(file: ImageFile) -> Entry:
    entry = Entry(file.size, file.mtime_ns)
    try:
        with open(os.fsencode(file.path), "rb") as opened:
            head = opened.read(_HEAD_BYTES)
            entry = entry._replace(head=_blake2b(head).hexdigest())
            opened.seek(0)
            header = read_header(opened)
    except ImageFormatError as error:
        return entry._replace(problem=str(error))
    except OSError as error:
        return entry._replace(mtime_ns=_NEVER, problem=error.strerror or str(error))
    return entry._replace(
        format=header.format, width=header.width, height=header.height
    )


def _decoded_entry(file: ImageFile) -> Entry:
    entry = _header_entry(file)
    if entry.problem:
        return entry
    try:
        with open(os.fsencode(file.path), "rb") as opened, tf.device("CPU"):
            decode_image(tf.constant(opened.read()))
    except OSError as error:
        return entry._replace(mtime_ns=_NEVER, problem=error.strerror or str(error))
    except (tf.errors.OpError, ValueError) as error:
        reason = getattr(error, "message", str(error)).split("{{", 1)[0].strip()
        return entry._replace(problem=f"cannot be decoded: {reason}", decoded=True)
    return entry._replace(decoded=True)


def _digest(file: ImageFile) -> str:
    with open(os.fsencode(file.path), "rb") as opened:
        return hashlib.file_digest(opened, _blake2b).hexdigest()


def _in_threads(
    function: Callable[[ImageFile], T], files: Sequence[ImageFile], what: str
) -> Iterator[T]:
    """The function of each file, in order, with a progress bar where there are many."""
    with ThreadPoolExecutor(_THREADS) as pool:
        results = itertools.chain.from_iterable(
            pool.map(function, files[start : start + _BATCH])
            for start in range(0, len(files), _BATCH)
        )
        yield from _with_bar(results, len(files), what)


def _with_bar(results: Iterable[T], total: int, what: str) -> Iterable[T]:
    if total < _SHOWN_FROM or not sys.stderr.isatty():
        return results
    from rich.console import Console
    from rich.progress import track

    return track(results, what, total, console=Console(stderr=True), transient=True)


def _named_entry(row: Sequence[str]) -> tuple[str, Entry]:
    """Name and entry of a row; earlier versions wrote no `head`."""
    name, size, mtime_ns, kind, width, height, problem, decoded, digest, *head = row
    return name, Entry(
        int(size),
        int(mtime_ns),
        kind,
        int(width),
        int(height),
        problem,
        decoded == "True",
        digest,
        *head,
    )
