"""From importance to the architecture that meets a cost."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
import numbers
from collections.abc import Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np

from scalenet_tf.allocation.importance import Importance, checked, describe, shape
from scalenet_tf.allocation.selection import (
    Blocks,
    check_minimum,
    grouped,
    kept_first,
    least_budget,
    ranked,
    rows_of,
)
from scalenet_tf.architectures import Architecture

Criterion = Literal["block", "global"]

# The most of a target that is left, by stem: what one ratio for all stages can meet
# near the cost of a twin.
MAX_GAP: Mapping[str, float] = MappingProxyType({"imagenet": 0.005, "cifar": 0.03})


@dataclasses.dataclass(frozen=True)
class MacsAllocation:
    """An allocation that meets a target cost.

    Attributes:
        architecture: Budgets and allocation.
        ratio: Each stage's budget is `ceil(ratio x width)`, or, where that would
            leave too much of the target, one more in some stages; the largest ratio
            of which that is true. `None` for one ranking over all blocks.
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


def allocate_for_macs(
    architecture: Architecture,
    importance: Importance,
    target_macs: float | None = None,
    *,
    minimum: int = 0,
    criterion: Criterion = "block",
    max_gap: float | None = None,
    classes: int | None = None,
    align: int = 1,
) -> MacsAllocation:
    """Keeps as many of the most important neurons as a target cost allows.

    The criterion `"block"` is the paper's: every block of a stage keeps
    `ceil(ratio x width)` neurons, chosen as `allocate` does, at the largest ratio
    that meets the target. Where this leaves more than `max_gap` of it, as it may in
    networks far smaller than their twin, the blocks of some stages keep one neuron
    more, in the stages that come nearest to the target. `"global"` ranks the neurons
    of all blocks by importance per MAC and keeps them in this order until the next
    one would exceed the target; of equals, those of the earlier block, of the finer
    scale, of the lower index come first. Every block keeps a neuron; blocks of a
    stage differ, so that the architecture has no budgets.

    Args:
        architecture: The one whose model the importance was measured on, such as
            `seed_architecture` returns.
        importance: As `neuron_importance` returns it.
        target_macs: The most multiply-accumulates of an image of the native size.
            Default: those of the architecture's ResNet twin.
        minimum: Least neurons to keep at each scale that a block has.
        criterion: `"block"` or `"global"`.
        max_gap: What one ratio may leave of the target, as a fraction of it; 1 for
            one ratio always. Default: that of the stem in `MAX_GAP`.
        classes: Classes of the dense layer, whose cost counts. Default: the
            architecture's `default_classes`.
        align: Neurons are kept in groups of so many of a scale, the best with the best,
            by the mean of their importance: 8 or 16 fill the vectors of a processor.
            The rest of a scale that fills no group is not kept.

    Returns:
        The architecture, named `<Name>Allocated`, its ratio, its cost and the target.
        What is left of the target is at most `MAX_GAP`, 0.5 % for ImageNet networks
        and 3 % for CIFAR ones, with `align` 1. With `"global"` it is less than one
        group of neurons costs.

    Raises:
        ValueError: The importance is not this architecture's, the target is outside
            the range that can be reached, or an argument is not allowed.

    Source: Li et al., CVPR 2019, section 3.3. That one ratio gives all budgets of a
    network is seen in the published numbers. Importance per MAC is this package's.
    """
    blocks = checked(importance)
    check_architecture(architecture, importance)
    check_minimum(blocks, minimum)
    if criterion not in get_args(Criterion):
        raise ValueError(
            f"`criterion` must be one of {get_args(Criterion)}. Received: "
            f"{criterion!r}."
        )
    groups = grouped(blocks, align)
    least_groups = -(-minimum // align)
    target = architecture.twin().macs(classes) if target_macs is None else target_macs
    if not isinstance(target, numbers.Real) or math.isnan(target):
        raise ValueError(f"`target_macs` must be a number. Received: {target!r}.")
    if criterion == "global":
        allocated = _by_one_ranking(
            architecture, groups, target, least_groups, classes, align
        )
        return MacsAllocation(allocated, None, allocated.macs(classes), target)
    max_gap = MAX_GAP[architecture.stem] if max_gap is None else max_gap
    allocated, ratio = _by_ratio(
        architecture, groups, target, least_groups, max_gap, classes, align
    )
    return MacsAllocation(allocated, ratio, allocated.macs(classes), target)


def _by_ratio(
    architecture: Architecture,
    blocks: Blocks,
    target: float,
    minimum: int,
    max_gap: float,
    classes: int | None,
    align: int,
) -> tuple[Architecture, Fraction]:
    """The largest ratio that meets the target; blocks and budgets count groups."""
    orders = [kept_first(block, minimum) for block in blocks]

    def allocated(by_stage: Sequence[int]) -> Architecture:
        by_block = [by_stage[block.stage - 1] for block in architecture.blocks()]
        rows = rows_of(orders, by_block, blocks)
        return with_rows(architecture, rows, by_stage, align)

    # Budgets change right after the ratios k / width and nowhere else, so that these
    # finitely many stand for all. A larger one takes more neurons off the same
    # orders; every neuron costs MACs, whichever its scale; so MACs rise with the
    # ratio, though budgets move neurons between scales, and bisection finds the last
    # ratio that meets the target.
    least, most = _stage_limits(architecture, blocks, minimum)
    ratios = _ratios(architecture, least, most, minimum, align)
    steps = [_groups(architecture, ratio, align) for ratio in ratios]

    def cost(by_stage: Sequence[int]) -> int:
        return allocated(by_stage).macs(classes)

    _check_target(target, cost(steps[0]), cost(steps[-1]))
    index = bisect.bisect_right(steps, target, key=cost) - 1
    best = steps[index]
    if target - cost(best) > max_gap * target:
        pairs = zip(best, most, strict=True)
        one_more = itertools.product(*((b, min(b + 1, m)) for b, m in pairs))
        best = max((b for b in one_more if cost(b) <= target), key=cost)
    return allocated(best), ratios[index]


def _stage_limits(
    architecture: Architecture, blocks: Blocks, minimum: int
) -> tuple[list[int], list[int]]:
    """The least and the most budget by stage that all its blocks can meet."""
    stages: list[list[Sequence[np.ndarray]]] = [[] for _ in architecture.stage_widths]
    for place, block in zip(architecture.blocks(), blocks, strict=True):
        stages[place.stage - 1].append(block)
    least = [max(least_budget(block, minimum) for block in stage) for stage in stages]
    most = [min(sum(map(len, block)) for block in stage) for stage in stages]
    return least, most


def _ratios(
    architecture: Architecture,
    least: Sequence[int],
    most: Sequence[int],
    minimum: int,
    align: int,
) -> list[Fraction]:
    """The ratios after which a budget changes, of those that all blocks can meet."""
    unit = math.lcm(*architecture.stage_widths)
    ticks = {
        budget * (unit // width)
        for width, largest in zip(architecture.stage_widths, most, strict=True)
        for budget in range(1, (largest + 1) * align)
    }
    possible = [
        ratio
        for ratio in (Fraction(tick, unit) for tick in sorted(ticks))
        if all(
            low <= budget <= high
            for low, budget, high in zip(
                least, _groups(architecture, ratio, align), most, strict=True
            )
        )
    ]
    if not possible:
        raise ValueError(
            f"`minimum` must leave a ratio that all stages of {architecture.name} can "
            f"meet. Received: {minimum}, which asks for budgets from {least} to {most}"
            f"{f' groups of {align}' if align > 1 else ''}."
        )
    return possible


def _budgets(architecture: Architecture, ratio: Fraction) -> tuple[int, ...]:
    # In integers: ratio x width in floating point may pass the next whole number.
    return tuple(
        -(-ratio.numerator * width // ratio.denominator)
        for width in architecture.stage_widths
    )


def _groups(architecture: Architecture, ratio: Fraction, align: int) -> tuple[int, ...]:
    """The budgets of a ratio in whole groups."""
    return tuple(budget // align for budget in _budgets(architecture, ratio))


def _by_one_ranking(
    architecture: Architecture,
    blocks: Blocks,
    target: float,
    minimum: int,
    classes: int | None,
    align: int,
) -> Architecture:
    """The best groups of all blocks, while the target is met."""
    rankings = []
    for block, costs in zip(blocks, architecture.neuron_macs(), strict=True):
        per_mac = [values / cost for values, cost in zip(block, costs, strict=True)]
        ranking = ranked(per_mac, minimum)
        ranking.required[0] = True  # no block may end without neurons
        rankings.append(ranking)
    scales, values, required = map(np.concatenate, zip(*rankings, strict=True))
    places = np.repeat(np.arange(len(blocks)), [len(item.scales) for item in rankings])
    order = np.lexsort((-values, ~required))  # stable: ties stay in the blocks' order

    macs = np.asarray(architecture.neuron_macs(), np.int64)
    fixed = architecture.macs(classes) - int((macs * architecture.allocation).sum())
    totals = fixed + align * macs[places[order], scales[order]].cumsum()
    _check_target(target, int(totals[required.sum() - 1]), int(totals[-1]))
    kept = order[: np.searchsorted(totals, math.floor(target), side="right")]
    rows = np.zeros((len(blocks), len(architecture.scales)), int)
    np.add.at(rows, (places[kept], scales[kept]), 1)
    return with_rows(architecture, rows.tolist(), None, align)


def with_rows(
    architecture: Architecture,
    rows: Sequence[Sequence[int]],
    budget_per_stage: Sequence[int] | None,
    align: int,
) -> Architecture:
    """The architecture with that many groups of `align` neurons."""
    budgets = budget_per_stage and [align * budget for budget in budget_per_stage]
    return dataclasses.replace(
        architecture,
        name=f"{architecture.name.removesuffix('Seed')}Allocated",
        budget_per_stage=budgets,
        allocation=[[align * count for count in row] for row in rows],
        learned_on=None,
    )


def check_architecture(architecture: Architecture, importance: Importance) -> None:
    """Raises ValueError where the importance is not that of the architecture."""
    expected = [
        dict(zip(architecture.scales, block.channels, strict=True))
        for block in architecture.blocks()
    ]
    received = shape(importance)
    if received != expected:
        raise ValueError(
            "`importance` must be measured on a model of `architecture` "
            f"({architecture.name}), {describe(expected)}. Received: "
            f"{describe(received)}. The architecture to pass is that of the trained "
            "model, such as `seed_architecture` returns."
        )


def _check_target(target: float, lowest: int, highest: int) -> None:
    if not lowest <= target <= highest:
        raise ValueError(
            f"`target_macs` must be from {lowest:,} to {highest:,}, what the "
            f"architecture can spend. Received: {float(target):,.0f}."
        )
