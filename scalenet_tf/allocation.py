"""Neuron allocation from data: seed network, importance of its neurons, selection.

The method, as functions of data: build the seed network of `seed_architecture` and
train it; `neuron_importance` reads what it learned; `allocate_for_macs` keeps the
most important neurons of each block such that the network meets a cost. The result
is an `Architecture`, to be trained from scratch.

Source: Li et al., CVPR 2019, section 3.3.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
import numbers
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Literal, NamedTuple, get_args

import keras
import numpy as np

from scalenet_tf.architectures import Architecture
from scalenet_tf.layers import ScaleAggregation

# By block, from the first to the last: scale -> (neurons,).
Importance = Sequence[Mapping[int, np.ndarray]]
Rows = tuple[tuple[int, ...], ...]
Criterion = Literal["block", "global"]


@dataclasses.dataclass(frozen=True)
class MacsAllocation:
    """An allocation that meets a target cost.

    Attributes:
        architecture: Budgets and allocation.
        ratio: Each stage's budget is `ceil(ratio x width)`; the largest ratio that
            gives these budgets. `None` for one ranking over all blocks.
        macs: Multiply-accumulates of an image of the native size.
        target: The most that `macs` may be.
    """

    architecture: Architecture
    ratio: Fraction | None
    macs: int
    target: float

    @property
    def gap(self) -> float:
        """What is left of the target, as a fraction of it; never negative."""
        return (self.target - self.macs) / self.target


@dataclasses.dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of two importances; NaN where one is constant.

    Attributes:
        blocks: Of the neurons of each block.
        overall: Of the neurons of all blocks in one ranking.
    """

    blocks: tuple[float, ...]
    overall: float


def seed_architecture(architecture: Architecture) -> Architecture:
    """The network to train before allocation: `width` neurons at each scale.

    Raises:
        ValueError: The architecture has one scale: there is nothing to allocate.

    Source: Li et al., CVPR 2019, section 3.3.
    """
    scales = len(architecture.scales)
    if scales < 2:
        raise ValueError(
            "`architecture` must have two scales or more to allocate neurons to. "
            f"Received: {architecture.name} with scales={architecture.scales}."
        )
    return dataclasses.replace(
        architecture,
        name=f"{architecture.name.removesuffix('Seed')}Seed",
        budget_per_stage=[scales * width for width in architecture.stage_widths],
        allocation=[[block.width] * scales for block in architecture.blocks()],
        learned_on=None,
    )


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
    if any(layer.folded for layer in layers):
        raise ValueError(
            "`model` must have its batch norms. Received: "
            f"{model.name!r}, in which they are folded into the convolutions."
        )
    return tuple(
        {
            scale: _absolute_gamma(layer.norms[scale])
            if scale in layer.norms
            else np.zeros(0)
            for scale in layer.scales
        }
        for layer in layers
    )


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
    for index, block in enumerate(_checked(importance)):
        values = np.concatenate(block)
        if values.size > 1 and values.std() <= tolerance * values.mean():
            spreads[index] = values.std() / (values.mean() or 1.0)
    if spreads:
        raise ValueError(
            "`importance` does not tell the neurons of a block apart: its standard "
            f"deviation must be above {tolerance:g} of its mean. Received "
            f"{min(spreads.values()):.2g} to {max(spreads.values()):.2g} of it in the "
            f"blocks {list(spreads)} (counted from 0). Has the seed network been "
            "trained?"
        )


def stage_budgets(
    architecture: Architecture, ratio: Fraction | float
) -> tuple[int, ...]:
    """Budgets by stage for a ratio: `ceil(ratio x width)` neurons a block.

    Args:
        architecture: Gives the stages' widths and the number of scales.
        ratio: Above 0, at most the number of scales. A float counts as the decimal
            number it is printed as, so that 1.1 x 100 is 110 and not 111.

    Raises:
        ValueError: The ratio is outside this range.

    Source: the published budgets; one ratio gives all those of a network.
    """
    most = len(architecture.scales)
    if not isinstance(ratio, numbers.Real) or not 0 < ratio <= most:
        raise ValueError(
            f"`ratio` must be above 0 and at most {most}, the number of scales. "
            f"Received: {ratio!r}."
        )
    exact = ratio if isinstance(ratio, Fraction) else Fraction(str(ratio))
    return _budgets(architecture, exact)


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
        Neurons by scale, a row a block: `allocation` of an `Architecture`.

    Raises:
        ValueError: The importance is not finite, or is negative, or a number is not
            within what its block has; the message names the argument, what came and
            what is allowed.

    Source: Li et al., CVPR 2019, section 3.3.
    """
    blocks = _checked(importance)
    _check_minimum(blocks, minimum)
    if len(budgets) != len(blocks):
        raise ValueError(
            f"`budgets` must have one number a block, {len(blocks)} in all. "
            f"Received: {len(budgets)}."
        )
    for index, (block, budget) in enumerate(zip(blocks, budgets, strict=True)):
        least, most = _least(block, minimum), sum(map(len, block))
        if not _is_int(budget) or not least <= budget <= most:
            raise ValueError(
                f"`budgets` of block {index} (counted from 0) must be a whole number "
                f"from {least} to {most}, for minimum={minimum}. Received: {budget!r}."
            )
    return _rows([_kept_first(block, minimum) for block in blocks], budgets, blocks)


def allocate_for_macs(
    architecture: Architecture,
    importance: Importance,
    target_macs: float | None = None,
    *,
    minimum: int = 0,
    criterion: Criterion = "block",
    classes: int | None = None,
) -> MacsAllocation:
    """Keeps as many of the most important neurons as a target cost allows.

    The criterion `"block"` is the paper's: every block of a stage keeps
    `ceil(ratio x width)` neurons, chosen as `allocate` does, at the largest ratio
    that meets the target. `"global"` ranks the neurons of all blocks by importance
    per MAC and keeps them in this order until the next one would exceed the target;
    of equals, those of the earlier block, of the finer scale, of the lower index
    come first. Every block keeps a neuron; blocks of a stage differ, so that the
    architecture has no budgets.

    Args:
        architecture: The one whose model the importance was measured on, such as
            `seed_architecture` returns.
        importance: As `neuron_importance` returns it.
        target_macs: The most multiply-accumulates of an image of the native size.
            Default: those of the architecture's ResNet twin.
        minimum: Least neurons to keep at each scale that a block has.
        criterion: `"block"` or `"global"`.
        classes: Classes of the dense layer, whose cost counts. Default: the
            architecture's `default_classes`.

    Returns:
        The architecture, named `<Name>Allocated`, its ratio, its cost and the target.
        What is left of the target is less than one neuron more in every block costs:
        at most 0.5 % of the MACs of an ImageNet twin, 2.8 % of a CIFAR one. With
        `"global"` it is less than one neuron costs.

    Raises:
        ValueError: The importance is not this architecture's, the target is outside
            the range that can be reached, or an argument is not allowed.

    Source: Li et al., CVPR 2019, section 3.3. That one ratio gives all budgets of a
    network is seen in the published numbers. Importance per MAC is this package's.
    """
    blocks = _checked(importance)
    _check_architecture(architecture, importance)
    _check_minimum(blocks, minimum)
    if criterion not in get_args(Criterion):
        raise ValueError(
            f"`criterion` must be one of {get_args(Criterion)}. Received: "
            f"{criterion!r}."
        )
    target = architecture.twin().macs(classes) if target_macs is None else target_macs
    if not isinstance(target, numbers.Real) or math.isnan(target):
        raise ValueError(f"`target_macs` must be a number. Received: {target!r}.")
    search = _by_ratio if criterion == "block" else _by_one_ranking
    allocated, ratio = search(architecture, blocks, target, minimum, classes)
    return MacsAllocation(allocated, ratio, allocated.macs(classes), target)


def rank_correlation(first: Importance, second: Importance) -> RankCorrelation:
    """Spearman's rank correlation of two importances of one architecture.

    Equal values have the mean of their ranks.

    Raises:
        ValueError: They differ in blocks, scales or neurons.
    """
    pair = [_checked(importance) for importance in (first, second)]
    shapes = [_shape(importance) for importance in (first, second)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "`second` must have the blocks, scales and neurons of `first`, "
            f"{_describe(shapes[0])}. Received: {_describe(shapes[1])}."
        )
    flat = [[np.concatenate(block) for block in blocks] for blocks in pair]
    return RankCorrelation(
        blocks=tuple(_spearman(a, b) for a, b in zip(*flat, strict=True)),
        overall=_spearman(*map(np.concatenate, flat)),
    )


class _Ranking(NamedTuple):
    """The neurons of a block, best first, as arrays of one entry a neuron."""

    scales: np.ndarray  # index of the neuron's scale
    values: np.ndarray
    required: np.ndarray  # whether it is one of the `minimum` best of its scale


def _ranked(block: Sequence[np.ndarray], minimum: int) -> _Ranking:
    # A stable sort of neurons in the order of scales and indices settles ties.
    values = np.concatenate(block)
    order = np.argsort(-values, kind="stable")
    scales = np.repeat(np.arange(len(block)), [len(scale) for scale in block])[order]
    place = np.empty_like(scales)  # in the ranking of the neuron's own scale
    for scale in range(len(block)):
        mine = scales == scale
        place[mine] = np.arange(mine.sum())
    return _Ranking(scales, values[order], place < minimum)


def _kept_first(block: Sequence[np.ndarray], minimum: int) -> np.ndarray:
    """Scale index of each neuron, in the order in which budgets take them."""
    ranking = _ranked(block, minimum)
    return ranking.scales[np.argsort(~ranking.required, kind="stable")]


def _rows(
    orders: Sequence[np.ndarray],
    budgets: Sequence[int],
    blocks: Sequence[Sequence[np.ndarray]],
) -> Rows:
    return tuple(
        tuple(np.bincount(order[:budget], minlength=len(block)).tolist())
        for order, budget, block in zip(orders, budgets, blocks, strict=True)
    )


def _by_ratio(
    architecture: Architecture,
    blocks: Sequence[Sequence[np.ndarray]],
    target: float,
    minimum: int,
    classes: int | None,
) -> tuple[Architecture, Fraction]:
    orders = [_kept_first(block, minimum) for block in blocks]

    def allocated(ratio: Fraction) -> Architecture:
        by_stage = _budgets(architecture, ratio)
        by_block = [by_stage[block.stage - 1] for block in architecture.blocks()]
        return _with_rows(architecture, _rows(orders, by_block, blocks), by_stage)

    # Budgets change right after the ratios k / width and nowhere else, so that these
    # finitely many stand for all. A larger one takes more neurons off the same
    # orders; every neuron costs MACs, whichever its scale; so MACs rise with the
    # ratio, though budgets move neurons between scales, and bisection finds the last
    # ratio that meets the target.
    ratios = _ratios(architecture, blocks, minimum)

    def cost(ratio: Fraction) -> int:
        return allocated(ratio).macs(classes)

    _check_target(target, cost(ratios[0]), cost(ratios[-1]))
    ratio = ratios[bisect.bisect_right(ratios, target, key=cost) - 1]
    return allocated(ratio), ratio


def _ratios(
    architecture: Architecture,
    blocks: Sequence[Sequence[np.ndarray]],
    minimum: int,
) -> list[Fraction]:
    """The ratios after which a budget changes, of those that all blocks can meet."""
    stages = [[] for _ in architecture.stage_widths]
    for place, block in zip(architecture.blocks(), blocks, strict=True):
        stages[place.stage - 1].append(block)
    least = [max(_least(block, minimum) for block in stage) for stage in stages]
    most = [min(sum(map(len, block)) for block in stage) for stage in stages]
    unit = math.lcm(*architecture.stage_widths)
    ticks = {
        budget * (unit // width)
        for width, largest in zip(architecture.stage_widths, most, strict=True)
        for budget in range(1, largest + 1)
    }
    possible = [
        ratio
        for ratio in (Fraction(tick, unit) for tick in sorted(ticks))
        if all(
            low <= budget <= high
            for low, budget, high in zip(
                least, _budgets(architecture, ratio), most, strict=True
            )
        )
    ]
    if not possible:
        raise ValueError(
            f"`minimum` must leave a ratio that all stages of {architecture.name} can "
            f"meet. Received: {minimum}, which asks for budgets from {least} to {most}."
        )
    return possible


def _budgets(architecture: Architecture, ratio: Fraction) -> tuple[int, ...]:
    # In integers: ratio x width in floating point may pass the next whole number.
    return tuple(
        -(-ratio.numerator * width // ratio.denominator)
        for width in architecture.stage_widths
    )


def _by_one_ranking(
    architecture: Architecture,
    blocks: Sequence[Sequence[np.ndarray]],
    target: float,
    minimum: int,
    classes: int | None,
) -> tuple[Architecture, None]:
    rankings = []
    for block, costs in zip(blocks, architecture.neuron_macs(), strict=True):
        per_mac = [values / cost for values, cost in zip(block, costs, strict=True)]
        ranking = _ranked(per_mac, minimum)
        ranking.required[0] = True  # no block may end without neurons
        rankings.append(ranking)
    scales, values, required = map(np.concatenate, zip(*rankings, strict=True))
    places = np.repeat(np.arange(len(blocks)), [len(item.scales) for item in rankings])
    order = np.lexsort((-values, ~required))  # stable: ties stay in the blocks' order

    costs = np.asarray(architecture.neuron_macs(), np.int64)
    fixed = architecture.macs(classes) - int((costs * architecture.allocation).sum())
    totals = fixed + costs[places[order], scales[order]].cumsum()
    _check_target(target, int(totals[required.sum() - 1]), int(totals[-1]))
    kept = order[: np.searchsorted(totals, math.floor(target), side="right")]
    rows = np.zeros((len(blocks), len(architecture.scales)), int)
    np.add.at(rows, (places[kept], scales[kept]), 1)
    return _with_rows(architecture, rows.tolist(), None), None


def _with_rows(
    architecture: Architecture,
    rows: Sequence[Sequence[int]],
    budget_per_stage: Sequence[int] | None,
) -> Architecture:
    return dataclasses.replace(
        architecture,
        name=f"{architecture.name.removesuffix('Seed')}Allocated",
        budget_per_stage=budget_per_stage,
        allocation=rows,
        learned_on=None,
    )


def _scale_aggregations(model: keras.Model) -> Iterator[ScaleAggregation]:
    for layer in model.layers:
        if isinstance(layer, ScaleAggregation):
            yield layer
        elif isinstance(layer, keras.Model):
            yield from _scale_aggregations(layer)


def _absolute_gamma(norm: keras.layers.BatchNormalization) -> np.ndarray:
    gamma = keras.ops.convert_to_numpy(norm.gamma)
    return np.abs(gamma.astype(np.float64))


def _checked(importance: Importance) -> list[list[np.ndarray]]:
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
    if not isinstance(block, Mapping) or not all(map(_is_int, block)):
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


def _check_architecture(architecture: Architecture, importance: Importance) -> None:
    expected = [
        dict(zip(architecture.scales, block.channels, strict=True))
        for block in architecture.blocks()
    ]
    received = _shape(importance)
    if received != expected:
        raise ValueError(
            "`importance` must be measured on a model of `architecture` "
            f"({architecture.name}), {_describe(expected)}. Received: "
            f"{_describe(received)}. The architecture to pass is that of the trained "
            "model, such as `seed_architecture` returns."
        )


def _shape(importance: Importance) -> list[dict[int, int]]:
    """By block: scale -> number of neurons."""
    return [
        {int(scale): len(block[scale]) for scale in sorted(block)}
        for block in importance
    ]


def _describe(shape: Sequence[Mapping[int, int]]) -> str:
    neurons = [list(block.values()) for block in shape]
    text = ", ".join(map(str, neurons[:3])) + (", ..." if len(neurons) > 3 else "")
    return f"{len(shape)} blocks with scales {list(shape[0])} and neurons {text}"


def _check_minimum(blocks: Sequence[Sequence[np.ndarray]], minimum: int) -> None:
    most = min(len(scale) for block in blocks for scale in block if len(scale))
    if not _is_int(minimum) or not 0 <= minimum <= most:
        raise ValueError(
            f"`minimum` must be a whole number from 0 to {most}, the neurons of the "
            f"smallest scale. Received: {minimum!r}."
        )


def _check_target(target: float, lowest: int, highest: int) -> None:
    if not lowest <= target <= highest:
        raise ValueError(
            f"`target_macs` must be from {lowest:,} to {highest:,}, what the "
            f"architecture can spend. Received: {float(target):,.0f}."
        )


def _least(block: Sequence[np.ndarray], minimum: int) -> int:
    """The smallest budget of a block."""
    return max(1, minimum * sum(1 for scale in block if len(scale)))


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    ranks = [_ranks(values) for values in (first, second)]
    centred = [values - values.mean() for values in ranks]
    norm = math.sqrt(math.prod(float(values @ values) for values in centred))
    return float(centred[0] @ centred[1]) / norm if norm else math.nan


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values have the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[places]


def _is_int(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
