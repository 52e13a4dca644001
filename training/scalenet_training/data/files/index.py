"""What is known of image files, kept so that unchanged files are not opened again."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import tensorflow as tf

import scalenet_tf
from scalenet_tf.decoding import ImageFormatError, decode_image, read_header
from scalenet_tf.files import replaced
from scalenet_training.data.files.listing import ImageFile

INDEX_FILE = "index.csv.gz"

# Of another version, which may read images otherwise, an index is not believed.
_HEADER = (f"scalenet_tf {scalenet_tf.__version__}", "index 1")
_THREADS = 16
_BATCH = 8192  # files whose results are held at a time
_SHOWN_FROM = 1000  # files; fewer are read before a bar can be looked at
# As a file that can never be found unchanged: it is opened again the next time.
_NEVER = -1

T = TypeVar("T")


class Entry(NamedTuple):
    """What is known of a file of this size, last changed then.

    Attributes:
        size: In bytes.
        mtime_ns: When the file was last changed, in nanoseconds.
        format: As Pillow names it; "" for what is no image.
        width: In pixels.
        height: In pixels.
        problem: Why it cannot be used; "" where it can.
        decoded: Whether its body was decoded, too.
        digest: Of its bytes; "" where nobody has asked for it.
    """

    size: int
    mtime_ns: int
    format: str = ""
    width: int = 0
    height: int = 0
    problem: str = ""
    decoded: bool = False
    digest: str = ""


class Index:
    """Files by their names, and what is known of each.

    Attributes:
        changed: Whether it holds more, or other things, than it was made of.
        touched: Names of files that were found with another time and the same size.
    """

    def __init__(self, entries: dict[str, Entry] | None = None):
        self._entries = entries or {}
        self.changed = False
        self.touched: list[str] = []

    @classmethod
    def load(cls, path: str | None) -> Index:
        """Reads an index; an empty one where there is none that can be read."""
        if path is None:
            return cls()
        try:
            with gzip.open(path, "rb") as file:
                text = file.read().decode("utf-8", "surrogateescape")
            rows = csv.reader(io.StringIO(text, newline=""))
            if tuple(next(rows)) != _HEADER:
                return cls()
            return cls({row[0]: _entry(row[1:]) for row in rows})
        except (OSError, EOFError, ValueError, TypeError, StopIteration, csv.Error):
            return cls()

    def save(self, path: str) -> None:
        """Writes the index whole."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_HEADER)
        writer.writerows((name, *entry) for name, entry in self._entries.items())
        data = text.getvalue().encode("utf-8", "surrogateescape")
        with replaced(path) as temporary, open(temporary, "wb") as file:
            file.write(gzip.compress(data, 3, mtime=0))
        self.changed = False

    def examine(self, files: Sequence[ImageFile], bodies: bool) -> list[Entry]:
        """What is known of these files, after the new and changed ones were opened.

        Args:
            files: All files of the dataset: others are forgotten.
            bodies: Whether to decode them, too, and not to read the headers alone.

        Returns:
            An entry for each file.
        """
        before, self._entries = self._entries, {}
        stale = []
        for file in files:
            entry = before.get(file.name)
            if entry is not None and _is_true(entry, file, bodies):
                self._entries[file.name] = entry
                continue
            stale.append(file)
            if entry is not None and _is_touched(entry, file):
                self.touched.append(file.name)
        read = _decoded_entry if bodies else _header_entry
        what = "Decoding images" if bodies else "Reading image headers"
        for file, entry in zip(stale, _in_threads(read, stale, what), strict=True):
            self._entries[file.name] = entry
        self.changed |= bool(stale) or len(before) != len(self._entries)
        return [self._entries[file.name] for file in files]

    def digests(self, files: Sequence[ImageFile]) -> list[str]:
        """A digest of each file's bytes; of files that were examined.

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


def _is_true(entry: Entry, file: ImageFile, bodies: bool) -> bool:
    same = (entry.size, entry.mtime_ns) == (file.size, file.mtime_ns)
    return same and (entry.decoded or not bodies or bool(entry.problem))


def _is_touched(entry: Entry, file: ImageFile) -> bool:
    return entry.size == file.size and entry.mtime_ns not in (_NEVER, file.mtime_ns)


def _header_entry(file: ImageFile) -> Entry:
    try:
        header = read_header(os.fsencode(file.path))
    except ImageFormatError as error:
        return Entry(file.size, file.mtime_ns, problem=str(error))
    except OSError as error:
        return Entry(file.size, _NEVER, problem=error.strerror or str(error))
    sides = header.width, header.height
    return Entry(file.size, file.mtime_ns, header.format, *sides)


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


def _blake2b() -> hashlib._Hash:
    return hashlib.blake2b(digest_size=16)


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


def _entry(row: Sequence[str]) -> Entry:
    size, mtime_ns, kind, width, height, problem, decoded, digest = row
    return Entry(
        int(size),
        int(mtime_ns),
        kind,
        int(width),
        int(height),
        problem,
        decoded == "True",
        digest,
    )
