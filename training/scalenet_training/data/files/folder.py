"""Folders of images with a sub-folder for each class."""

from __future__ import annotations

import os
from collections.abc import Mapping

from scalenet_training.data.files.listing import (
    ImageFile,
    Listing,
    Unused,
    in_order,
    split_named,
)
from scalenet_training.data.files.walking import is_hidden
from scalenet_training.text import quoted, shown, some

HIDDEN = "hidden, or written by a system for itself"
IN_NO_CLASS = "in no class's folder"
BESIDE_SPLITS = "folder beside those of the splits"


def is_folder_name(name: str) -> bool:
    """Whether the name of a dataset can only be meant as that of a folder."""
    return name.startswith(("/", "./", "../", "~"))


def is_folder(name: str, data_dir: str | None) -> bool:
    """Whether the name of a dataset is meant as a folder, and not as one of TFDS."""
    return is_folder_name(name) or (data_dir is None and os.path.isdir(name))


def list_folder(path: str) -> Listing:
    """Lists a folder with a sub-folder for each class, or such a folder for each split.

    Sub-folders are splits if two or more of them have the name of a split and any of
    these has sub-folders of its own; otherwise they are classes.

    Raises:
        ValueError: There is no such folder, two sub-folders are the same split, or
            the splits have different classes.
    """
    if not os.path.isdir(path):
        raise ValueError(f"`dataset`: there is no folder {quoted(path)}.")
    scan = _Scan(path)
    folders, files = scan.level("")
    scan.leave_out(files, IN_NO_CLASS)
    parts = _split_folders(path, folders)
    if not parts:
        class_names = _checked_classes(path, folders)
        found = scan.classes("", class_names, None)
    else:
        beside = sorted(set(folders) - set(parts.values()))
        scan.left_out += [Unused(name, BESIDE_SPLITS) for name in beside]
        class_names, found = _in_splits(path, scan, parts)
    return Listing(
        kind="folder",
        path=path,
        class_names=tuple(map(shown, class_names)),
        files=in_order(found),
        unusable=sorted(scan.unusable),
        left_out=sorted(scan.left_out),
    )


def is_listed(folder: str, path: str) -> bool:
    """Whether `list_folder(path)` would list what is in a folder, if that were there.

    Raises:
        ValueError: Two sub-folders of the path are the same split.
    """
    root, place = os.path.realpath(path), os.path.realpath(folder)
    if os.path.commonpath([root, place]) != root or not os.path.isdir(root):
        return False
    if root == place:
        return True
    names = os.path.relpath(place, root).split(os.sep)
    if is_hidden(names[0]):
        return False
    splits = _split_folders(root, _Scan(root).level("")[0])
    return not splits or names[0] in splits.values()


class _Scan:
    """Walks through folders, and notes what is not an image file.

    Attributes:
        unusable: Links to nothing, links that form a loop, pipes and the like.
        left_out: Hidden files, and files outside the folders of classes.
    """

    def __init__(self, root: str):
        self.root = root
        self.unusable: list[Unused] = []
        self.left_out: list[Unused] = []

    def level(self, name: str) -> tuple[list[str], list[tuple[str, os.stat_result]]]:
        """The folders and the files directly in a folder."""
        folders, files = [], []
        with os.scandir(os.path.join(self.root, name)) as entries:
            for entry in entries:
                inner = f"{name}/{entry.name}" if name else entry.name
                if is_hidden(entry.name):
                    self.left_out.append(Unused(inner, HIDDEN))
                    continue
                try:
                    if entry.is_dir():
                        folders.append(inner)
                    elif entry.is_file():
                        files.append((inner, entry.stat()))
                    else:
                        self.unusable.append(Unused(inner, _oddity(entry)))
                except OSError as error:
                    self.unusable.append(Unused(inner, f"{error.strerror}"))
        return folders, files

    def leave_out(self, files: list[tuple[str, os.stat_result]], reason: str) -> None:
        """Notes files that are not used."""
        self.left_out += [Unused(name, reason) for name, _ in files]

    def classes(
        self, parent: str, class_names: tuple[str, ...], split: str | None
    ) -> list[ImageFile]:
        """The files in the folders of all classes, and in the folders below them."""
        above = frozenset({self._identity(""), self._identity(parent)})
        found = []
        for label, class_name in enumerate(class_names):
            name = f"{parent}/{class_name}" if parent else class_name
            for inner, status in self._below(name, above):
                path = os.path.join(self.root, inner)
                size, mtime = status.st_size, status.st_mtime_ns
                found.append(ImageFile(path, inner, label, split, size, mtime))
        return found

    def _below(
        self, name: str, above: frozenset[tuple[int, int]]
    ) -> list[tuple[str, os.stat_result]]:
        own = self._identity(name)
        if own in above:
            self.unusable.append(Unused(name, "a link to a folder that it lies in"))
            return []
        folders, files = self.level(name)
        for folder in folders:
            files += self._below(folder, above | {own})
        return files

    def _identity(self, name: str) -> tuple[int, int]:
        status = os.stat(os.path.join(self.root, name))
        return status.st_dev, status.st_ino


def _split_folders(root: str, folders: list[str]) -> dict[str, str]:
    """Split -> its folder; empty if the folders are classes."""
    named = [(name, split) for name in sorted(folders) if (split := split_named(name))]
    if len(named) < 2 or not any(_sub_folders(root, name) for name, _ in named):
        return {}
    parts: dict[str, str] = {}
    for name, split in named:
        if split in parts:
            raise ValueError(
                f"`dataset`: {quoted(parts[split])} and {quoted(name)} of "
                f"{quoted(root)} are both the {split} split. Merge or rename them."
            )
        parts[split] = name
    return parts


def _in_splits(
    root: str, scan: _Scan, parts: Mapping[str, str]
) -> tuple[tuple[str, ...], list[ImageFile]]:
    """The classes, which must be the same in all splits, and the files."""
    first = parts.get("train") or next(iter(parts.values()))
    levels = {name: scan.level(name) for name in parts.values()}
    classes = {
        name: {os.path.basename(folder) for folder in folders}
        for name, (folders, _) in levels.items()
    }
    for name, own in classes.items():
        missing = sorted(classes[first] - own)
        more = sorted(own - classes[first])
        if missing or more:
            lacks = f" It lacks {some(missing)}." if missing else ""
            has = f" It has {some(more)} too." if more else ""
            raise ValueError(
                "`dataset`: the folders of all splits must have the same classes, as "
                f"sub-folders. Received: {quoted(os.path.join(root, name))}, which "
                f"differs from {quoted(first)}.{lacks}{has}"
            )
    class_names = _checked_classes(os.path.join(root, first), list(classes[first]))
    found = []
    for split, name in parts.items():
        scan.leave_out(levels[name][1], IN_NO_CLASS)
        found += scan.classes(name, class_names, split)
    return class_names, found


def _checked_classes(folder: str, names: list[str]) -> tuple[str, ...]:
    if len(names) >= 2:
        return tuple(sorted(names))
    hint = ""
    if names and _sub_folders(folder, names[0]):
        inner = os.path.join(folder, names[0])
        hint = f" If its classes are in {quoted(inner)}, give that folder."
    raise ValueError(
        "`dataset`: a folder of images needs at least 2 sub-folders, one a class. "
        f"Received: {quoted(folder)} with {len(names)}.{hint}"
    )


def _sub_folders(root: str, name: str) -> bool:
    with os.scandir(os.path.join(root, name)) as entries:
        return any(e.is_dir() and not is_hidden(e.name) for e in entries)


def _oddity(entry: os.DirEntry[str]) -> str:
    return "a link to nothing" if entry.is_symlink() else "neither a file nor a folder"
