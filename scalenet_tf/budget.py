"""Architectures that meet a MACs target, from shares: the search space of the tuner.

A point of the space says how the neurons of each stage split over the scales, and
how the MACs of the SA neurons split over the stages. Both are wishes: whole neurons,
at least one a block and at most the stage's width at each scale, can follow them
only so far, and the target comes first.

The block's limits are those of the seed network of neuron allocation (Li et al.,
CVPR 2019, section 3.3), so that the space holds everything the method can find.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Iterator, Sequence

from scalenet_tf.architectures import Architecture

# Beyond this gap, blocks of a stage may differ in their number of neurons.
TOLERANCE = 0.01

# A share of nothing still takes what has no other place.
_LEAST_SHARE = 1e-6


def architecture_for_macs(
    base: Architecture,
    target: float,
    macs_shares: Sequence[float],
    scale_shares: Sequence[Sequence[float]],
    *,
    depth: int | None = None,
    classes: int | None = None,
    name: str | None = None,
) -> Architecture:
    """The architecture nearest to the wishes that costs at most the target.

    All blocks of a stage have the same number of neurons, and nearly the same at
    each scale. Where that leaves more than 1 % of the target, blocks may differ
    (`budget_per_stage` is then `None`).

    Args:
        base: Stem, scales, stage widths and, without `depth`, blocks.
        target: The most it may cost, in MACs of an image of the native size.
        macs_shares: By stage, its part of the MACs of all SA neurons; any numbers
            from 0 up, of which only the ratios count. All zero: equal parts.
        scale_shares: By stage and scale, the scale's part of the stage's neurons; in
            the same way.
        depth: Bottlenecks in all stages. Default: those of the base.
        classes: Classes of the dense layer. Default: the base's.
        name: Name of the result. Default: the base's.

    Raises:
        ValueError: The target cannot be met, or the shares are not allowed.
    """
    base = with_depth(base, depth)
    lowest, highest = reachable_macs(base, classes=classes)
    # A number that is not finite is in no range.
    if not lowest <= target <= highest:
        blocks = sum(base.blocks_per_stage)
        raise ValueError(
            f"the target must be from {lowest:,} to {highest:,} MACs for {base.name} "
            f"with {blocks} blocks. Received: {target:,}."
        )
    scale_shares = _checked(scale_shares, macs_shares, base)
    rows = [[0] * len(base.scales) for _ in base.blocks()]
    stages = list(_stages(base, rows, scale_shares))
    fixed = base.macs(classes) - _cost(base, base.allocation)
    amount = math.floor(target) - fixed
    parts = _project(
        _normalized(macs_shares),
        amount,
        [stage.least for stage in stages],
        [stage.most for stage in stages],
    )
    for stage, part in zip(stages, parts, strict=True):
        stage.fill(part)
    gap = amount - _cost(base, rows)
    for moves in (_wished, _equal_budgets):
        gap = _close(moves, stages, gap)
    if gap > TOLERANCE * target:
        _close(_single_neurons, stages, gap)
    return dataclasses.replace(
        base,
        name=name or base.name,
        allocation=rows,
        budget_per_stage=_budgets(stages),
        learned_on=None,
    )


def architecture_for_time(
    base: Architecture,
    target: float,
    milliseconds: Callable[[Architecture], float],
    macs_shares: Sequence[float],
    scale_shares: Sequence[Sequence[float]],
    *,
    classes: int | None = None,
    name: str | None = None,
) -> Architecture:
    """The largest architecture by these shares that takes at most a time.

    Largest in MACs; what it takes must not fall where they rise.

    Args:
        base: As for `architecture_for_macs`, with all others.
        target: Milliseconds that it may take.
        milliseconds: What an architecture takes, such as `CostTable.milliseconds`.
        macs_shares: By stage.
        scale_shares: By stage and scale.
        classes: Classes of the dense layer. Default: the base's.
        name: Name of the result. Default: the base's.

    Raises:
        ValueError: The smallest takes longer, or the shares are not allowed.
    """

    def at(macs: int) -> Architecture:
        return architecture_for_macs(
            base, macs, macs_shares, scale_shares, classes=classes, name=name
        )

    low, high = reachable_macs(base, classes=classes)
    least = milliseconds(at(low))
    if not least <= target < math.inf:
        raise ValueError(
            f"the target must be {least:.4g} ms or more for {base.name}. Received: "
            f"{target:.4g}."
        )
    while high - low > 1:
        middle = (low + high) // 2
        if milliseconds(at(middle)) <= target:
            low = middle
        else:
            high = middle
    return at(low)


def reachable_macs(
    base: Architecture, depth: int | None = None, classes: int | None = None
) -> tuple[int, int]:
    """The lowest and the highest cost in MACs of architectures of this space.

    From one neuron a block, at the cheapest scale, to the stage's width at each.
    """
    base = with_depth(base, depth)
    lowest = []
    for costs in base.neuron_macs():
        cheapest = costs.index(min(costs))
        lowest.append([int(scale == cheapest) for scale in range(len(costs))])
    highest = [[block.width] * len(base.scales) for block in base.blocks()]
    low, high = (
        dataclasses.replace(base, allocation=rows, budget_per_stage=None).macs(classes)
        for rows in (lowest, highest)
    )
    return low, high


def with_depth(base: Architecture, depth: int | None) -> Architecture:
    """The base with that many bottlenecks, split over its stages as they are.

    Blocks are left away or repeated at the end of a stage.

    Raises:
        ValueError: There are fewer bottlenecks than stages.
    """
    before = base.blocks_per_stage
    if depth is None or depth == sum(before):
        return base
    if depth < len(before):
        raise ValueError(
            f"`depth` must be at least {len(before)}, a block for each stage. "
            f"Received: {depth}."
        )
    wished = [part * depth / sum(before) for part in before]
    counts = [max(1, math.floor(count)) for count in wished]
    while sum(counts) != depth:
        step = 1 if sum(counts) < depth else -1
        # A stage keeps its last block.
        stages = [s for s, count in enumerate(counts) if count + step > 0]
        stage = max(stages, key=lambda s: step * (wished[s] - counts[s]))
        counts[stage] += step
    rows: list[Sequence[int]] = []
    start = 0
    for count, old in zip(counts, before, strict=True):
        of_stage = base.allocation[start : start + old]
        rows += [of_stage[min(index, old - 1)] for index in range(count)]
        start += old
    return dataclasses.replace(base, blocks_per_stage=counts, allocation=rows)


def average_shares(
    base: Architecture,
) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
    """The shares of an architecture that exists: of MACs by stage, and by scale."""
    stages = list(_stages(base, [list(row) for row in base.allocation], None))
    total = sum(stage.cost() for stage in stages)
    by_stage = tuple(stage.cost() / total for stage in stages)
    return by_stage, tuple(tuple(_normalized(stage.sums())) for stage in stages)


@dataclasses.dataclass(frozen=True)
class _Stage:
    """The blocks of one stage, whose neurons all cost the same at a scale.

    Attributes:
        rows: Neurons by block and scale; changed in place.
        costs: MACs of a neuron by scale.
        width: The most neurons of a block at one scale.
        shares: Wished part of the neurons by scale; they add up to 1.
        wishes: What they ask for in neurons of a block by scale, not whole; set by
            `fill`.
    """

    rows: list[list[int]]
    costs: tuple[int, ...]
    width: int
    shares: list[float]
    wishes: list[float] = dataclasses.field(default_factory=list)

    @property
    def least(self) -> int:
        return len(self.rows) * min(self.costs)

    @property
    def most(self) -> int:
        return len(self.rows) * sum(self.costs) * self.width

    def cost(self) -> int:
        return sum(map(operator.mul, self.sums(), self.costs))

    def sums(self) -> list[int]:
        return [sum(column) for column in zip(*self.rows, strict=True)]

    def fill(self, part: float) -> None:
        """Whole neurons for at most this many MACs, all blocks alike."""
        weights = [s * c for s, c in zip(self.shares, self.costs, strict=True)]
        most = [self.width * cost for cost in self.costs]
        macs = _project(weights, part / len(self.rows), [0] * len(most), most)
        self.wishes[:] = [m / cost for m, cost in zip(macs, self.costs, strict=True)]
        row = [math.floor(wish) for wish in self.wishes]
        if not any(row):
            affordable = [
                scale
                for scale, cost in enumerate(self.costs)
                if len(self.rows) * cost <= part or cost == min(self.costs)
            ]
            row[max(affordable, key=self.shares.__getitem__)] = 1
        for block in self.rows:
            block[:] = row


@dataclasses.dataclass(frozen=True)
class _Move:
    """A change of some blocks: a neuron more at a scale, perhaps one less elsewhere."""

    cost: int
    rows: list[list[int]]
    more: int
    less: int | None = None

    def make(self) -> None:
        for row in self.rows:
            row[self.more] += 1
            if self.less is not None:
                row[self.less] -= 1


def _wished(stages: Sequence[_Stage]) -> Iterator[_Move]:
    """A neuron in each block of a stage, at a scale that is below its wish."""
    for stage in stages:
        for scale, wish in enumerate(stage.wishes):
            if stage.rows[0][scale] < wish:
                yield _Move(len(stage.rows) * stage.costs[scale], stage.rows, scale)


def _equal_budgets(stages: Sequence[_Stage]) -> Iterator[_Move]:
    """Changes after which all blocks of a stage still have equally many neurons."""
    for stage in stages:
        for more, cost in enumerate(stage.costs):
            if all(row[more] < stage.width for row in stage.rows):
                yield _Move(len(stage.rows) * cost, stage.rows, more)
            for less, saved in enumerate(stage.costs):
                fit = [r for r in stage.rows if r[less] > 0 and r[more] < stage.width]
                if cost > saved and fit:
                    row = max(fit, key=lambda r: r[less] - r[more])
                    yield _Move(cost - saved, [row], more, less)


def _single_neurons(stages: Sequence[_Stage]) -> Iterator[_Move]:
    """A neuron more in one block."""
    for stage in stages:
        for more, cost in enumerate(stage.costs):
            row = min(stage.rows, key=operator.itemgetter(more))
            if row[more] < stage.width:
                yield _Move(cost, [row], more)
    yield from _equal_budgets(stages)


def _close(
    moves: Callable[[Sequence[_Stage]], Iterator[_Move]],
    stages: Sequence[_Stage],
    gap: int,
) -> int:
    """Makes the largest move that fits the gap, as long as there is one."""
    while fitting := [move for move in moves(stages) if 0 < move.cost <= gap]:
        best = max(fitting, key=operator.attrgetter("cost"))
        best.make()
        gap -= best.cost
    return gap


def _stages(
    base: Architecture,
    rows: list[list[int]],
    scale_shares: Sequence[Sequence[float]] | None,
) -> Iterator[_Stage]:
    costs = base.neuron_macs()
    start = 0
    for stage, count in enumerate(base.blocks_per_stage):
        shares = [1.0] * len(base.scales)
        if scale_shares is not None:
            shares = _normalized(scale_shares[stage])
        yield _Stage(
            rows[start : start + count], costs[start], base.stage_widths[stage], shares
        )
        start += count


def _project(
    weights: Sequence[float],
    amount: float,
    least: Sequence[float],
    most: Sequence[float],
) -> list[float]:
    """Parts in the ratio of the weights, each in its limits, of at most the amount."""

    def parts(factor: float) -> list[float]:
        return [
            min(max(factor * weight, low), high)
            for weight, low, high in zip(weights, least, most, strict=True)
        ]

    low, high = 0.0, max(top / w for top, w in zip(most, weights, strict=True))
    if sum(parts(high)) <= amount:
        return parts(high)
    for _ in range(100):
        middle = (low + high) / 2
        if sum(parts(middle)) <= amount:
            low = middle
        else:
            high = middle
    return parts(low)


def _normalized(shares: Sequence[float]) -> list[float]:
    total = math.fsum(shares)
    parts = [share / total if total else 1.0 for share in shares]
    parts = [max(part, _LEAST_SHARE) for part in parts]
    total = math.fsum(parts)
    return [part / total for part in parts]


def _cost(base: Architecture, rows: Sequence[Sequence[int]]) -> int:
    return sum(
        sum(map(operator.mul, row, costs))
        for row, costs in zip(rows, base.neuron_macs(), strict=True)
    )


def _budgets(stages: Sequence[_Stage]) -> tuple[int, ...] | None:
    sums = [{sum(row) for row in stage.rows} for stage in stages]
    if any(len(of_stage) > 1 for of_stage in sums):
        return None
    return tuple(of_stage.pop() for of_stage in sums)


def _checked(
    scale_shares: Sequence[Sequence[float]],
    macs_shares: Sequence[float],
    base: Architecture,
) -> Sequence[Sequence[float]]:
    stages, scales = len(base.stage_widths), len(base.scales)
    for name, shares, count in (
        ("macs_shares", macs_shares, stages),
        ("scale_shares", scale_shares, stages),
        *((f"scale_shares[{i}]", row, scales) for i, row in enumerate(scale_shares)),
    ):
        if len(shares) != count:
            raise ValueError(
                f"`{name}` must have {count} entries. Received: {len(shares)}."
            )
    for share in [*macs_shares, *(share for row in scale_shares for share in row)]:
        if not (math.isfinite(share) and share >= 0):
            raise ValueError(
                f"shares must be finite numbers from 0 up. Received: {share!r}."
            )
    return scale_shares
