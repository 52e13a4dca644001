"""Folders of images, a sub-folder for each class."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from scalenet_training.data.division import split_once
from scalenet_training.data.image_files import ImageFormatError, read_header
from scalenet_training.data.source import Source, indexed_source


def open_folder(path: str) -> Source:
    """A folder with a sub-folder a class, itself or in train/ and validation/."""
    if not os.path.isdir(path):
        raise ValueError(f"--dataset: there is no folder {path!r}.")
    parts = {
        name: os.path.join(path, part)
        for part, name in (
            ("train", "train"),
            ("validation", "validation"),
            ("val", "validation"),
            ("test", "test"),
        )
        if os.path.isdir(os.path.join(path, part))
    }
    roots = parts if "train" in parts and len(parts) > 1 else {"all": path}
    class_names = _class_names(next(iter(roots.values())))
    files: list[str] = []
    labels: list[int] = []
    splits = {}
    for name, root in roots.items():
        start = len(files)
        for label, class_name in enumerate(_class_names(root, class_names)):
            found = _image_files(os.path.join(root, class_name))
            if not found and start == 0:
                raise ValueError(
                    f"--dataset: class {class_name!r} of {root!r} has no images."
                )
            files += found
            labels += [label] * len(found)
        splits[name] = np.arange(start, len(files))
    _check_headers(files)
    if "all" in splits:
        splits = split_once(len(files), validation=0.1)
    paths, numbers = tf.constant(files), tf.constant(labels, tf.int64)
    return indexed_source(
        path,
        class_names,
        splits,
        lambda index: (
            tf.io.read_file(tf.gather(paths, index)),
            tf.gather(numbers, index),
        ),
        files,
    )


def _class_names(
    folder: str, expected: tuple[str, ...] | None = None
) -> tuple[str, ...]:
    names = tuple(
        sorted(
            entry.name
            for entry in os.scandir(folder)
            if entry.is_dir() and not entry.name.startswith((".", "__"))
        )
    )
    if expected is not None and names != expected:
        raise ValueError(
            f"--dataset: the folders of all splits must have the same classes. "
            f"{folder!r} has {len(names)}, the first split has {len(expected)}."
        )
    if len(names) < 2:
        raise ValueError(
            "--dataset: a folder of images needs at least 2 sub-folders, one a class. "
            f"Received: {folder!r} with {len(names)}."
        )
    return names


def _image_files(folder: str) -> list[str]:
    return sorted(
        entry.path
        for entry in os.scandir(folder)
        if entry.is_file() and not entry.name.startswith(".")
    )


def _check_headers(files: list[str]) -> None:
    """Fails on files that are no images; a damaged body shows when it is decoded."""
    with ThreadPoolExecutor(16) as pool:
        problems = list(pool.map(_problem, files))
    wrong = [
        f"{path} ({problem})"
        for path, problem in zip(files, problems, strict=True)
        if problem
    ]
    if wrong:
        raise ValueError(
            f"--dataset: {len(wrong)} of {len(files)} files are not images that can be "
            f"read; remove them. The first: {', '.join(wrong[:3])}."
        )


def _problem(path: str) -> str | None:
    try:
        read_header(path)
    except (ImageFormatError, OSError) as error:
        return str(error)
    return None
