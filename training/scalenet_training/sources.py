"""Datasets by the names that `--dataset` takes: digits, TFDS, folders of images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from scalenet_training.splits import IndexedSplit, Split, StreamedSplit, select

# Datasets of TensorFlow Datasets up to this size are held in memory, undecoded, which
# allows a full shuffle and passing over examples at no cost.
_MEMORY_LIMIT = 2**30
_IMAGE_FORMATS = frozenset({"JPEG", "MPO", "PNG", "BMP", "GIF"})
_DIVISION_SEED = 0


@dataclasses.dataclass(frozen=True)
class Source:
    """A dataset: its classes and its splits."""

    name: str
    class_names: tuple[str, ...]
    split_names: tuple[str, ...]
    open_split: Callable[[str], Split]

    @property
    def evaluation_split(self) -> str:
        """The split to evaluate on where none is named."""
        for name in ("validation", "test"):
            if name in self.split_names:
                return name
        raise ValueError(
            f"--eval-split must be given: {self.name} has neither a validation nor a "
            f"test split, only {', '.join(self.split_names)}."
        )


def open_source(name: str, data_dir: str | None, download: bool) -> Source:
    """Opens a dataset by the name that `--dataset` takes.

    Raises:
        ValueError: There is no such dataset, or it cannot serve classification.
    """
    if name == "digits":
        return _digits()
    path_like = name.startswith(("/", "./", "../", "~"))
    if path_like or (os.path.isdir(name) and data_dir is None):
        return _folder(os.path.expanduser(name))
    return _tensorflow_dataset(name, data_dir, download)


def open_split(source: Source, name: str, option: str) -> Split:
    """Opens a split; errors name the option.

    Raises:
        ValueError: There is no such split, or it has no examples.
    """
    try:
        split = source.open_split(name)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from error
    if split.size == 0:
        raise ValueError(f"{option}: {name!r} of {source.name} has no examples.")
    return split


def _digits() -> Source:
    """Scikit-learn's 1,797 digits, 8x8 in 17 greys, enlarged to 32x32x3."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    pixels = pixels.repeat(4, axis=1).repeat(4, axis=2).repeat(3, axis=3)
    pixels, labels = tf.constant(pixels), tf.constant(labels, tf.int64)
    return _indexed_source(
        "digits",
        tuple("0123456789"),
        _split_once(len(labels), validation=0.2),
        lambda index: (tf.gather(pixels, index), tf.gather(labels, index)),
    )


def _folder(path: str) -> Source:
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
        splits = _split_once(len(files), validation=0.1)
    paths, numbers = tf.constant(files), tf.constant(labels, tf.int64)
    return _indexed_source(
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
        kinds = list(pool.map(_image_format, files))
    wrong = [
        f"{path} ({kind})"
        for path, kind in zip(files, kinds, strict=True)
        if kind not in _IMAGE_FORMATS
    ]
    if wrong:
        raise ValueError(
            f"--dataset: {len(wrong)} of {len(files)} files are not images that can be "
            f"read ({', '.join(sorted(_IMAGE_FORMATS))}); remove them. The first: "
            f"{', '.join(wrong[:3])}."
        )


def _image_format(path: str) -> str:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.format or "unknown"
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError):
        return "not an image"


def _tensorflow_dataset(name: str, data_dir: str | None, download: bool) -> Source:
    import tensorflow_datasets as tfds

    if data_dir is not None and not os.path.isdir(data_dir) and not download:
        raise ValueError(f"--data-dir: there is no folder {data_dir!r}.")
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise ValueError(
            "--dataset must be digits, an existing folder, or a name of TensorFlow "
            "Datasets such as cifar10, cifar100 or imagenet2012. "
            f"Received: {name!r}."
        ) from error
    if download:
        _download(builder)
    if not builder.is_prepared():
        raise ValueError(
            f"--dataset: {name} is not in {builder.data_dir!r}. Give the folder that "
            "holds it with --data-dir, or let it be fetched with --download."
        )
    features = dict(builder.info.features)
    label = features.get("label")
    if "image" not in features or not isinstance(label, tfds.features.ClassLabel):
        raise ValueError(
            f"--dataset: {name} must have the features image and label (a class). "
            f"It has: {', '.join(features)}."
        )
    return Source(
        name=name,
        class_names=tuple(label.names),
        split_names=tuple(builder.info.splits),
        open_split=lambda spec: _open_tensorflow_split(builder, spec),
    )


def _download(builder: Any) -> None:
    try:
        builder.download_and_prepare()
    except Exception as error:  # of many kinds: network, disk, files to fetch by hand
        raise ValueError(
            f"--download: {builder.name} could not be prepared: {error}"
        ) from error


def _open_tensorflow_split(builder: Any, spec: str) -> Split:
    try:
        info = builder.info.splits[spec]
        size = info.num_examples
    except (KeyError, ValueError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"no split {spec!r} in {builder.name}: its splits are "
            f"{', '.join(builder.info.splits)}, sliced as in 'train[:5000]'."
        ) from error
    split = StreamedSplit(builder, spec, size)
    whole = sum(part.num_bytes for part in builder.info.splits.values())
    return _in_memory(split) if whole <= _MEMORY_LIMIT else split


def _in_memory(split: StreamedSplit) -> IndexedSplit:
    batches = list(split.references(None).batch(4096))
    images = tf.concat([batch["image"] for batch in batches], 0)
    labels = tf.concat([batch["label"] for batch in batches], 0)
    return IndexedSplit(
        np.arange(len(labels)),
        lambda index: (tf.gather(images, index), tf.gather(labels, index)),
    )


def _split_once(size: int, validation: float) -> dict[str, np.ndarray]:
    """A fixed random division, for data that comes without one."""
    order = np.random.default_rng(_DIVISION_SEED).permutation(size)
    count = max(1, round(size * validation))
    return {
        "train": np.sort(order[count:]),
        "validation": np.sort(order[:count]),
        "all": np.arange(size),
    }


def _indexed_source(
    name: str,
    class_names: tuple[str, ...],
    splits: Mapping[str, np.ndarray],
    lookup: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    files: Sequence[str] | None = None,
) -> Source:
    return Source(
        name=name,
        class_names=class_names,
        split_names=tuple(splits),
        open_split=lambda spec: IndexedSplit(select(splits, spec, name), lookup, files),
    )
