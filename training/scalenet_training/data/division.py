"""How data that come without a division are divided."""

from __future__ import annotations

import numpy as np

_DIVISION_SEED = 0


def split_once(size: int, validation: float) -> dict[str, np.ndarray]:
    """A fixed random division, for data that comes without one."""
    order = np.random.default_rng(_DIVISION_SEED).permutation(size)
    count = max(1, round(size * validation))
    return {
        "train": np.sort(order[count:]),
        "validation": np.sort(order[:count]),
        "all": np.arange(size),
    }
