"""How data without splits are divided."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import numpy as np

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
