"""Manifests: tables of image files, `path,label[,split]`, as CSV or TSV."""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from scalenet_training.data.files.listing import (
    SPLITS,
    ImageFile,
    Listing,
    Unused,
    in_order,
    split_named,
)
from scalenet_training.text import quoted

_DELIMITERS = {".csv": ",", ".tsv": "\t"}


class _Row(NamedTuple):
    line: int
    path: str  # absolute
    name: str  # that stays the same where all of the data are moved
    label: str
    split: str | None


def is_manifest(path: str) -> bool:
    """Whether a path ends in .csv or .tsv, in any case."""
    return _suffix(path) in _DELIMITERS


def list_manifest(path: str) -> Listing:
    """Lists the files that a manifest names.

    Labels are names of classes, sorted as text, or as numbers if all of them are whole
    numbers.

    Raises:
        ValueError: There is no such file, or it is not such a table; the message names
            the line.
    """
    rows = _rows(path)
    class_names = _sorted_labels({row.label for row in rows})
    if len(class_names) < 2:
        raise ValueError(
            f"`dataset` {quoted(path)} must have at least 2 labels. "
            f"Received: {', '.join(class_names) or 'no rows'}."
        )
    labels = {name: number for number, name in enumerate(class_names)}
    found, unusable = [], []
    for row in rows:
        try:
            status = os.stat(row.path)
        except OSError as error:
            reason = f"line {row.line}: {(error.strerror or str(error)).lower()}"
            unusable.append(Unused(row.name, reason))
            continue
        if not stat.S_ISREG(status.st_mode):
            unusable.append(Unused(row.name, f"line {row.line}: not a file"))
            continue
        size, mtime = status.st_size, status.st_mtime_ns
        label = labels[row.label]
        found.append(ImageFile(row.path, row.name, label, row.split, size, mtime))
    return Listing("manifest", path, class_names, in_order(found), unusable)


def _rows(path: str) -> list[_Row]:
    """The rows, each checked by itself and against the others."""
    lines = iter(_table(path))
    header = next(lines, (1, []))[1]
    columns = _columns(path, header)
    rows: list[_Row] = []
    seen: dict[str, int] = {}
    for line, fields in lines:
        if not fields:
            continue
        if len(fields) != len(header):
            raise _error(
                path, line, f"has {len(fields)} columns, the header {len(header)}"
            )
        row = _row(path, line, {name: fields[at] for name, at in columns.items()})
        if row.path in seen:
            before = seen[row.path]
            raise _error(path, line, f"names {row.path!r} again, after line {before}")
        seen[row.path] = line
        rows.append(row)
    return rows


def _table(path: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each row."""
    delimiter = _DELIMITERS[_suffix(path)]
    reader = csv.reader(
        io.StringIO(_text(path), newline=""),
        delimiter=delimiter,
        skipinitialspace=delimiter == ",",
        strict=True,
    )
    line = 1
    try:
        for fields in reader:
            yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise _error(path, line, str(error)) from error


def _text(path: str) -> str:
    if not os.path.isfile(path):
        raise ValueError(f"`dataset`: there is no file {quoted(path)}.")
    with open(path, "rb") as file:
        data = file.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _error(path, line, "is not UTF-8: save the table as UTF-8") from error


def _columns(path: str, header: list[str]) -> dict[str, int]:
    """The positions of the columns that are used; there may be others."""
    names = [name.strip().lower() for name in header]
    for name in ("path", "label", "split"):
        if names.count(name) > 1:
            raise _error(path, 1, f"has the column {name!r} {names.count(name)} times")
    missing = [name for name in ("path", "label") if name not in names]
    if missing:
        delimiter = "tabs" if _suffix(path) == ".tsv" else "commas"
        raise _error(
            path,
            1,
            f"must be a header with the columns path and label (split too, if you "
            f"like), separated by {delimiter}. Received: {header!r}",
        )
    return {n: names.index(n) for n in ("path", "label", "split") if n in names}


def _row(path: str, line: int, fields: dict[str, str]) -> _Row:
    label, given = fields["label"].strip(), fields["path"]
    if not label or not given:
        raise _error(path, line, f"has no {'path' if label else 'label'}")
    if "\0" in given:
        raise _error(path, line, "has a path with a NUL, which no file can have")
    folder = os.path.dirname(os.path.abspath(path))
    file = os.path.normpath(os.path.join(folder, given))
    name = _name(file, folder, given)
    if "split" not in fields:
        return _Row(line, file, name, label, None)
    split = split_named(fields["split"].strip())
    if split is None:
        allowed = ", ".join(name for names in SPLITS.values() for name in names)
        raise _error(
            path,
            line,
            f"has the split {fields['split']!r}; allowed are {allowed}",
        )
    return _Row(line, file, name, label, split)


def _sorted_labels(labels: set[str]) -> tuple[str, ...]:
    if all(label.isdecimal() and label == str(int(label)) for label in labels):
        return tuple(sorted(labels, key=int))
    return tuple(sorted(labels))


def _name(file: str, folder: str, given: str) -> str:
    """Relative to the manifest's folder, but for a path elsewhere given as absolute."""
    relative = os.path.relpath(file, folder)
    is_elsewhere = relative.startswith(os.pardir + os.sep)
    return file if is_elsewhere and os.path.isabs(given) else relative


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _error(path: str, line: int, problem: str) -> ValueError:
    return ValueError(f"`dataset` {quoted(path)}, line {line}: {problem}.")
