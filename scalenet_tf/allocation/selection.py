"""Which neurons a budget keeps: the most important ones of every block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scalenet_tf.allocation.importance import Importance, checked, is_int

Blocks = Sequence[Sequence[np.ndarray]]
Rows = tuple[tuple[int, ...], ...]


def allocate(importance: Importance, budgets: Sequence[int], minimum: int = 0) -> Rows:
    """Keeps the most important neurons of every block.

    Of neurons that are equally important, those of the finer scale come first, then
    those of the lower index. What a larger budget keeps contains what a smaller one
    does.

    Args:
        importance: As `neuron_importance` returns it.
        budgets: Neurons to keep, one number a block; met exactly.
        minimum: Least neurons to keep at each scale that the block has.

    Returns:
        Neurons by scale, one row per block: `allocation` of an `Architecture`.

    Raises:
        ValueError: The importance is not finite, or is negative, or a number is not
            within what its block has; the message names the argument, what came and
            what is allowed.

    Source: Li et al., CVPR 2019, section 3.3.
    """
    blocks = checked(importance)
    check_minimum(blocks, minimum)
    if len(budgets) != len(blocks):
        raise ValueError(
            f"`budgets` must have one number a block, {len(blocks)} in all. "
            f"Received: {len(budgets)}."
        )
    for index, (block, budget) in enumerate(zip(blocks, budgets, strict=True)):
        least, most = least_budget(block, minimum), sum(map(len, block))
        if not is_int(budget) or not least <= budget <= most:
            raise ValueError(
                f"`budgets` of block {index} (counted from 0) must be a whole number "
                f"from {least} to {most}, for minimum={minimum}. Received: {budget!r}."
            )
    return rows_of([kept_first(block, minimum) for block in blocks], budgets, blocks)


class Ranking(NamedTuple):
    """The neurons of a block, best first, as arrays of one entry a neuron."""

    scales: np.ndarray  # index of the neuron's scale
    values: np.ndarray
    required: np.ndarray  # whether it is one of the `minimum` best of its scale


def ranked(block: Sequence[np.ndarray], minimum: int) -> Ranking:
    """A block's neurons, best first."""
    # A stable sort of neurons in the order of scales and indices settles ties.
    values = np.concatenate(block)
    order = np.argsort(-values, kind="stable")
    scales = np.repeat(np.arange(len(block)), [len(scale) for scale in block])[order]
    place = np.empty_like(scales)  # in the ranking of the neuron's own scale
    for scale in range(len(block)):
        mine = scales == scale
        place[mine] = np.arange(mine.sum())
    return Ranking(scales, values[order], place < minimum)


def kept_first(block: Sequence[np.ndarray], minimum: int) -> np.ndarray:
    """Scale index of each neuron, in the order in which budgets take them."""
    ranking = ranked(block, minimum)
    return ranking.scales[np.argsort(~ranking.required, kind="stable")]


def grouped(blocks: Blocks, size: int) -> list[list[np.ndarray]]:
    """The mean importance of groups of a scale, the best neurons in the first.

    Raises:
        ValueError: A scale has neurons, and too few for one group.
    """
    fewest = min(len(scale) for block in blocks for scale in block if len(scale))
    if not is_int(size) or not 1 <= size <= fewest:
        raise ValueError(
            f"`align` must be a whole number from 1 to {fewest}, the neurons of the "
            f"smallest scale. Received: {size!r}."
        )
    if size == 1:
        return [list(block) for block in blocks]
    return [[_means(scale, size) for scale in block] for block in blocks]


def _means(values: np.ndarray, size: int) -> np.ndarray:
    whole = len(values) // size * size
    return np.sort(values)[::-1][:whole].reshape(-1, size).mean(axis=1)


def rows_of(
    orders: Sequence[np.ndarray],
    budgets: Sequence[int],
    blocks: Blocks,
) -> Rows:
    """Neurons by scale that budgets take of each block's order, one row per block."""
    return tuple(
        tuple(np.bincount(order[:budget], minlength=len(block)).tolist())
        for order, budget, block in zip(orders, budgets, blocks, strict=True)
    )


def check_minimum(blocks: Blocks, minimum: int) -> None:
    """Raises ValueError where a scale has fewer neurons than the minimum."""
    most = min(len(scale) for block in blocks for scale in block if len(scale))
    if not is_int(minimum) or not 0 <= minimum <= most:
        raise ValueError(
            f"`minimum` must be a whole number from 0 to {most}, the neurons of the "
            f"smallest scale. Received: {minimum!r}."
        )


def least_budget(block: Sequence[np.ndarray], minimum: int) -> int:
    """The smallest budget of a block."""
    return max(1, minimum * sum(1 for scale in block if len(scale)))
