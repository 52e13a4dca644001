"""Which data a run had, and how other data differ from them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from scalenet_training.data.files.rows import encoded_rows, read_rows, write_rows
from scalenet_training.data.source import Source
from scalenet_training.data.splits import IndexedSplit, Split
from scalenet_training.text import some

_HEADER = ("part", "path", "class", "size")


class Listed(NamedTuple):
    """An example of a run.

    Attributes:
        part: "train" or "evaluation".
        name: Path relative to the dataset's folder.
        class_name: Name of its class.
        size: Size of the file, in bytes.
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


def replaced_examples(source: Source, examples: Iterable[Listed]) -> list[str]:
    """Names of files that have the size, but not the content, that the index knows."""
    if source.images is None:
        return []
    replaced = {*source.images.index.replaced}
    return [e.name for e in examples if e.name in replaced]


def fingerprint(source: Source, examples: Iterable[Listed]) -> dict[str, Any]:
    """What config.json says of the data: small, and different for other data."""
    parts: dict[str, list[Listed]] = {}
    for example in examples:
        parts.setdefault(example.part, []).append(example)
    digests = {
        part: hashlib.sha256(encoded_rows(own)).hexdigest()
        for part, own in parts.items()
    }
    return {**source.identity, **digests}


def write_list(path: str, examples: Sequence[Listed]) -> None:
    """Writes the examples to a compressed CSV file."""
    write_rows(path, [_HEADER, *examples])


def read_list(path: str) -> list[Listed] | None:
    """The examples of a file; None where it cannot be read."""
    return read_rows(path, _HEADER, _listed)


def _listed(row: Sequence[str]) -> Listed:
    part, name, class_name, size = row
    return Listed(part, name, class_name, int(size))


def differences(
    before: Sequence[Listed], now: Sequence[Listed], replaced: Sequence[str] = ()
) -> list[str]:
    """What differs, in words, with the first names: "1 file is new ('a/7.png')".

    Args:
        before: The examples of a run.
        now: The examples that there are now.
        replaced: Names of files with other content of the same size.
    """
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
        "of the same size, with other content": replaced,
    }
    # An example may be in both parts.
    unique = {what: list(dict.fromkeys(names)) for what, names in found.items()}
    return [
        f"{len(names):,} {'files are' if len(names) > 1 else 'file is'} {what} "
        f"({some(names)})"
        for what, names in unique.items()
        if names
    ]
