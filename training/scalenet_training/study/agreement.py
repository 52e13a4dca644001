"""How far allocations that were made with several seeds agree.

Neurons of two seed networks have nothing in common; what can agree is how much of each
block looks at which scale.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Sequence

import numpy as np
from scipy import stats

from scalenet_tf import load_architecture
from scalenet_training.study.spec import Study

# Of an arm's allocation, made anew for each seed.
_DRAWN = ("learned", "random")


@dataclasses.dataclass(frozen=True)
class Agreement:
    """The agreement of an arm's allocations, each two seeds compared.

    Attributes:
        arm: Its name.
        seeds: How many allocations there are, 2 or more.
        difference: Mean difference of a share, from 0 to 1.
        correlation: Mean rank correlation of the shares of all blocks and scales.
    """

    arm: str
    seeds: int
    difference: float
    correlation: float


def agreements_of(study: Study, folder: str) -> list[Agreement]:
    """The agreement of each arm that has the allocations of two seeds or more.

    Args:
        study: The study.
        folder: Of its results.
    """
    found = []
    for arm in study.arms:
        if arm.allocation is None or arm.allocation.kind not in _DRAWN:
            continue
        names = [f"{arm.name}-{seed}.json" for seed in study.seeds]
        paths = [os.path.join(folder, "allocations", name) for name in names]
        shares = [shares_of(path) for path in paths if os.path.exists(path)]
        if len(shares) > 1:
            found.append(_agreement(arm.name, shares))
    return found


def shares_of(path: str) -> np.ndarray:
    """Share of a block's neurons at each scale, `(blocks, scales)`, of a file."""
    neurons = np.array(load_architecture(path).allocation, float)
    return neurons / neurons.sum(axis=1, keepdims=True)


def _agreement(arm: str, shares: Sequence[np.ndarray]) -> Agreement:
    pairs = list(itertools.combinations([each.ravel() for each in shares], 2))
    return Agreement(
        arm,
        len(shares),
        difference=float(np.mean([np.abs(a - b).mean() for a, b in pairs])),
        correlation=float(np.mean([stats.spearmanr(a, b).statistic for a, b in pairs])),
    )


def agreement_table(agreements: Sequence[Agreement]) -> str:
    """The agreements as a Markdown table."""
    lines = [
        "| arm | seeds | mean difference of a share, points | rank correlation |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {one.arm} | {one.seeds} | {100 * one.difference:.1f} "
        f"| {one.correlation:.2f} |"
        for one in agreements
    ]
    return "\n".join(lines)
