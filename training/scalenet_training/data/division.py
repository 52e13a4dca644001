"""How data are divided into splits. Imports no TensorFlow."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from scalenet_training.data.files.listing import ImageFile

_DIVISION_SEED = 0
_HELD_OUT = 0.1
BY_NAME = "a tenth of each class, by the hash of the name"


def split_once(size: int, validation: float) -> dict[str, np.ndarray]:
    """A fixed random division, for data that are always in the same order."""
    order = np.random.default_rng(_DIVISION_SEED).permutation(size)
    count = max(1, round(size * validation))
    return {
        "train": np.sort(order[count:]),
        "validation": np.sort(order[:count]),
        "all": np.arange(size),
    }


def divide(files: Sequence[ImageFile], names: Sequence[str]) -> dict[str, np.ndarray]:
    """The numbers of the files in each split; by `hold_out` where there is none."""
    if not names:
        return hold_out([f.name for f in files], [f.label for f in files])
    return {
        name: np.array([n for n, file in enumerate(files) if file.split == name], int)
        for name in names
    }


def hold_out(names: Sequence[str], labels: Sequence[int]) -> dict[str, np.ndarray]:
    """Divides examples by their names, class by class.

    An example is held out if the hash of its name is below a tenth. In a class of two
    or more, the example with the lowest hash is always held out, and the one with the
    highest never. So adding examples leaves the others where they are, except these
    two: an example that was held out because its class needed one may return to
    training, and an example with a hash below a tenth that trained because its class
    had no other is held out once there is another.

    Args:
        names: Names of the examples, different within a class.
        labels: Classes of the examples.

    Returns:
        Ascending numbers of the examples of "train", "validation" and "all".
    """
    hashes = np.array([_hash(name) for name in names])
    held_out = np.zeros(len(hashes), bool)
    order = np.lexsort((hashes, np.asarray(labels)))
    for own in np.split(order, np.flatnonzero(np.diff(np.take(labels, order))) + 1):
        count = np.count_nonzero(hashes[own] < _HELD_OUT)
        held_out[own[: min(max(count, 1), len(own) - 1)]] = True
    return {
        "train": np.flatnonzero(~held_out),
        "validation": np.flatnonzero(held_out),
        "all": np.arange(len(hashes)),
    }


def _hash(name: str) -> float:
    """A number from 0 to below 1, evenly distributed over names."""
    digest = hashlib.blake2b(os.fsencode(name), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def evenly(count: int, total: int) -> list[int]:
    """Numbers below `total`, at most `count`, at equal distances from 0 on."""
    count = min(count, total)
    return [number * total // count for number in range(count)]


def spread_over_classes(indices: np.ndarray, files: Sequence[ImageFile]) -> np.ndarray:
    """Files in an order of which any slice has its share of each class, rounded.

    Within a class the hashes of their names decide. The order in which files are listed
    is by class, of which a slice would have the first ones alone.
    """
    labels = np.array([files[number].label for number in indices], int)
    hashes = np.array([_hash(files[number].name) for number in indices])
    order = np.lexsort((hashes, labels))
    ends = np.flatnonzero(np.diff(labels[order])) + 1
    places = np.empty(len(indices))
    for own in np.split(order, ends):
        places[own] = (np.arange(len(own)) + 0.5) / max(1, len(own))
    return indices[np.lexsort((hashes, places))]


def select(
    splits: Mapping[str, np.ndarray],
    spec: str,
    name: str,
    order: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> np.ndarray:
    """The numbers of the examples that a split's name, or a slice of it, stands for.

    Args:
        splits: The numbers of each split.
        spec: A name, or a slice as TensorFlow Datasets writes it.
        name: The dataset, for messages.
        order: From the numbers of a split to the order from which slices are cut; the
            numbers of a slice are ascending, as those of a split.

    Raises:
        ValueError: There is no such split, or it has no examples.
    """
    if spec in splits:
        return splits[spec]
    # The grammar of slices is that of TensorFlow Datasets, for all datasets.
    import tensorflow_datasets as tfds

    infos = {
        key: tfds.core.SplitInfo(name=key, shard_lengths=[len(indices)], num_bytes=0)
        for key, indices in splits.items()
    }
    try:
        parts = tfds.core.ReadInstruction.from_spec(spec).to_absolute(infos)
    except (ValueError, AssertionError, KeyError, NotImplementedError) as error:
        raise ValueError(
            f"no split {spec!r} in {name}: its splits are {', '.join(splits)}, sliced "
            "as in 'train[:100]' or 'train[:50%]'."
        ) from error
    cut = [order(splits[part.splitname])[part.from_ : part.to] for part in parts]
    return np.concatenate([np.sort(numbers) for numbers in cut])
