"""What tells the data of one run from those of another, and how they differ."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from scalenet_tf.files import replaced
from scalenet_training.data.files.listing import some
from scalenet_training.data.source import Source
from scalenet_training.data.splits import IndexedSplit, Split

_HEADER = ("part", "path", "class", "size")


class Listed(NamedTuple):
    """An example of a run.

    Attributes:
        part: "train" or "evaluation".
        name: Path relative to the dataset's folder.
        class_name: Its class.
        size: Of the file, in bytes.
    """

    part: str
    name: str
    class_name: str
    size: int


def list_examples(source: Source, parts: Mapping[str, Split]) -> list[Listed]:
    """The image files of a run, in the order of its splits; [] for other data."""
    if source.images is None:
        return []
    files = source.images.files
    return [
        Listed(part, file.name, source.class_names[file.label], file.size)
        for part, split in parts.items()
        if isinstance(split, IndexedSplit)
        for file in (files[number] for number in split.indices)
    ]


def fingerprint(source: Source, examples: Iterable[Listed]) -> dict[str, Any]:
    """What config.json says of the data: small, and other where the data are others."""
    parts: dict[str, list[Listed]] = {}
    for example in examples:
        parts.setdefault(example.part, []).append(example)
    return {
        **source.identity,
        **{part: hashlib.sha256(_rows(own)).hexdigest() for part, own in parts.items()},
    }


def write_list(path: str, examples: Sequence[Listed]) -> None:
    """Writes the examples as a compressed CSV file."""
    data = gzip.compress(_rows([_HEADER, *examples]), 3, mtime=0)
    with replaced(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def read_list(path: str) -> list[Listed] | None:
    """The examples of a file; None where it cannot be read."""
    try:
        with gzip.open(path, "rb") as file:
            text = file.read().decode("utf-8", "surrogateescape")
        rows = csv.reader(io.StringIO(text, newline=""))
        if tuple(next(rows)) != _HEADER:
            return None
        return [Listed(part, *names, int(size)) for part, *names, size in rows]
    except (OSError, EOFError, ValueError, TypeError, StopIteration, csv.Error):
        return None


def differences(before: Sequence[Listed], now: Sequence[Listed]) -> list[str]:
    """What differs, in words, with the first names: "1 file is new ('a/7.png')"."""
    old = {(example.part, example.name): example for example in before}
    new = {(example.part, example.name): example for example in now}
    gone = [name for part, name in old if (part, name) not in new]
    added = [name for part, name in new if (part, name) not in old]
    moved = set(gone) & set(added)
    both = [(old[key], new[key]) for key in old if key in new]
    found = {
        "gone": [name for name in gone if name not in moved],
        "new": [name for name in added if name not in moved],
        "now in the other split": [name for name in gone if name in moved],
        "of another size": [a.name for a, b in both if a.size != b.size],
        "of another class": [a.name for a, b in both if a.class_name != b.class_name],
    }
    # An example may be in both parts.
    unique = {what: list(dict.fromkeys(names)) for what, names in found.items()}
    return [
        f"{len(names):,} {'files are' if len(names) > 1 else 'file is'} {what} "
        f"({some(names)})"
        for what, names in unique.items()
        if names
    ]


def _rows(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")
