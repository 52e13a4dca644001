"""How data that come without a division are divided."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import numpy as np

_DIVISION_SEED = 0
_HELD_OUT = 0.1
BY_NAME = "a tenth of each class, by the hash of the name"


def split_once(size: int, validation: float) -> dict[str, np.ndarray]:
    """A fixed random division, for data that always come in the same order."""
    order = np.random.default_rng(_DIVISION_SEED).permutation(size)
    count = max(1, round(size * validation))
    return {
        "train": np.sort(order[count:]),
        "validation": np.sort(order[:count]),
        "all": np.arange(size),
    }


def hold_out(names: Sequence[str], labels: Sequence[int]) -> dict[str, np.ndarray]:
    """Divides examples by their names, class by class.

    An example is held out where the hash of its name is below a tenth. In a class of
    two or more, the one with the lowest hash always is, and the one with the highest
    never. So examples that are added leave the others where they are, but for these
    two: one that was held out since a class needs one may go back to training; and one
    with a hash below a tenth, in training since a class had no other there, is held
    out once the class has.

    Args:
        names: Of the examples; in a class, no two are equal.
        labels: Their classes.

    Returns:
        Numbers of examples, ascending, of "train", "validation" and "all".
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
    """From 0 to below 1, spread evenly."""
    digest = hashlib.blake2b(os.fsencode(name), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
