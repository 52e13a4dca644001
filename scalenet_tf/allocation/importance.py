"""How important the neurons of a trained seed network are.

An importance is a sequence with a mapping for each block, from the first to the last:
scale -> array of one number a neuron.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np

from scalenet_tf.extras import import_extra
from scalenet_tf.layers import ScaleAggregation

Importance = Sequence[Mapping[int, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of two importances; NaN where one is constant.

    Attributes:
        blocks: Of the neurons of each block.
        overall: Of the neurons of all blocks in one ranking.
    """

    blocks: tuple[float, ...]
    overall: float


def neuron_importance(model: keras.Model) -> tuple[dict[int, np.ndarray], ...]:
    """Importance of each SA neuron: |gamma| of its batch norm.

    Args:
        model: A model of this package, also inside another model.

    Returns:
        By block: scale -> float64 array (neurons,), empty where the block has no
        neurons at that scale.

    Raises:
        ValueError: The model has no SA blocks, or folded ones.

    Source: Li et al., CVPR 2019, section 3.3; Liu et al., "Learning Efficient
    Convolutional Networks through Network Slimming", ICCV 2017.
    """
    layers = tuple(_scale_aggregations(model))
    if not layers:
        raise ValueError(
            "`model` must have SA blocks (layers.ScaleAggregation). "
            f"Received: {model.name!r}, which has none."
        )
    return tuple(layer.importance() for layer in layers)


def check_spread(importance: Importance, tolerance: float = 1e-3) -> None:
    """Checks that training has told the neurons of every block apart.

    Batch norms start with all scales equal; where they still are, a ranking would be
    that of the neurons' positions.

    Args:
        importance: As `neuron_importance` returns it.
        tolerance: The standard deviation within a block must be above this fraction
            of its mean.

    Raises:
        ValueError: It is not, in some block.
    """
    spreads = {}
    for index, block in enumerate(checked(importance)):
        values = np.concatenate(block)
        if values.size > 1 and not values.std() > tolerance * values.mean():
            spreads[index] = values.std() / (values.mean() or 1.0)
    if spreads:
        raise ValueError(
            "`importance` does not tell the neurons of a block apart: its standard "
            f"deviation must be above {tolerance:g} of its mean. Received "
            f"{min(spreads.values()):.2g} to {max(spreads.values()):.2g} of it in the "
            f"blocks {list(spreads)} (counted from 0). Has the seed network been "
            "trained?"
        )


def rank_correlation(first: Importance, second: Importance) -> RankCorrelation:
    """Spearman's rank correlation of two importances of one architecture.

    Equal values have the mean of their ranks. Needs scipy, as the extra `train` has it.

    Raises:
        ImportError: scipy is not installed.
        ValueError: They differ in blocks, scales or neurons.
    """
    pair = [checked(importance) for importance in (first, second)]
    shapes = [shape(importance) for importance in (first, second)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "`second` must have the blocks, scales and neurons of `first`, "
            f"{describe(shapes[0])}. Received: {describe(shapes[1])}."
        )
    flat = [[np.concatenate(block) for block in blocks] for blocks in pair]
    return RankCorrelation(
        blocks=tuple(_spearman(a, b) for a, b in zip(*flat, strict=True)),
        overall=_spearman(*map(np.concatenate, flat)),
    )


def checked(importance: Importance) -> list[list[np.ndarray]]:
    """The arrays of every block in the order of its scales, as float64."""
    if not isinstance(importance, Sequence) or not importance:
        raise ValueError(
            "`importance` must have one mapping a block, scale -> array. Received: "
            f"{type(importance).__name__}"
            f"{' without blocks' if isinstance(importance, Sequence) else ''}."
        )
    blocks = [_checked_block(block, index) for index, block in enumerate(importance)]
    scales = [sorted(block) for block in importance]
    for index, (mine, arrays) in enumerate(zip(scales, blocks, strict=True)):
        where = f"`importance` of block {index} (counted from 0)"
        if mine != scales[0]:
            raise ValueError(
                f"{where} must have the scales of block 0, {scales[0]}; a scale "
                f"without neurons is an empty array. Received: {mine}."
            )
        if not any(map(len, arrays)):
            raise ValueError(f"{where} must have a neuron. Received: none.")
    return blocks


def _checked_block(block: Mapping[int, np.ndarray], index: int) -> list[np.ndarray]:
    where = f"`importance` of block {index} (counted from 0)"
    if not isinstance(block, Mapping) or not all(map(is_int, block)):
        raise ValueError(
            f"{where} must be a mapping, scale -> array. Received: {block!r:.80}."
        )
    arrays = []
    for scale in sorted(block):
        try:
            values = np.asarray(block[scale], np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{where} must be numbers at scale {scale} ({error})."
            ) from error
        if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any():
            raise ValueError(
                f"{where} must be one finite number from 0 up for each neuron at "
                f"scale {scale}. Received: {values!r:.80}."
            )
        arrays.append(values)
    return arrays


def shape(importance: Importance) -> list[dict[int, int]]:
    """By block: scale -> number of neurons."""
    return [
        {int(scale): len(block[scale]) for scale in sorted(block)}
        for block in importance
    ]


def describe(shape: Sequence[Mapping[int, int]]) -> str:
    """A `shape` in words, for messages."""
    neurons = [list(block.values()) for block in shape]
    text = ", ".join(map(str, neurons[:3])) + (", ..." if len(neurons) > 3 else "")
    return f"{len(shape)} blocks with scales {list(shape[0])} and neurons {text}"


def _scale_aggregations(model: keras.Model) -> Iterator[ScaleAggregation]:
    for layer in model.layers:
        if isinstance(layer, ScaleAggregation):
            yield layer
        elif isinstance(layer, keras.Model):
            yield from _scale_aggregations(layer)


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    stats = import_extra("scipy.stats", "scipy", "train", "rank_correlation")
    is_constant = not (np.ptp(first) and np.ptp(second))
    return math.nan if is_constant else float(stats.spearmanr(first, second).statistic)


def is_int(value: object) -> bool:
    """Whether it is a whole number; truth values are none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
