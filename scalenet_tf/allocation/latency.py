"""From importance to the architecture that takes no longer than it may.

Multiply-accumulates say little about the time of a branch that pools, convolves few
pixels and upsamples again: what a branch takes is measured, and is a table here.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from scalenet_tf.allocation.importance import Importance, checked
from scalenet_tf.allocation.selection import Blocks, check_minimum, grouped
from scalenet_tf.allocation.targets import check_architecture, with_rows
from scalenet_tf.architectures import Architecture

# What makes a network another one for its times.
_SHAPE = ("stem", "native_size", "scales", "stage_widths", "blocks_per_stage")
_HALVINGS = 60  # of the price of a millisecond; beyond what a float tells apart


@dataclasses.dataclass(frozen=True)
class CostTable:
    """Milliseconds of a batch, by what an SA block has, as they were measured.

    Attributes:
        fixed: All that is not a branch of an SA block.
        branches: Stage by stage, scale by scale, what a branch of a block takes:
            (neurons, milliseconds) in ascending order. More neurons never take less, so
            that the table is the nearest to these, by squares, that does not fall;
            between two of them it is taken to be linear; no neurons take no time.
        twin: The ResNet twin as a whole.
        about: Runtime, batch size, machine, versions, date, and what the network is:
            stem, native_size, scales, stage_widths, blocks_per_stage.
    """

    fixed: float
    branches: Sequence[Sequence[Sequence[tuple[int, float]]]]
    twin: float
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def of_branch(self, stage: int, scale: int, most: int) -> np.ndarray:
        """Milliseconds of a branch with 0 to `most` neurons.

        Args:
            stage: Counted from 1, as a `Block` has it.
            scale: Index of the scale.
            most: The largest number of neurons.
        """
        neurons, times = map(
            np.array, zip(*self.branches[stage - 1][scale], strict=True)
        )
        times = np.maximum(_never_falling(times), 0)
        counts = np.arange(most + 1)
        found = np.interp(counts, neurons, times)
        if len(neurons) > 1:
            slope = (times[-1] - times[-2]) / (neurons[-1] - neurons[-2])
            beyond = counts > neurons[-1]
            found[beyond] += slope * (counts[beyond] - neurons[-1])
        found[0] = 0
        return found

    def milliseconds(self, architecture: Architecture) -> float:
        """What an architecture is predicted to take."""
        return self.fixed + sum(ms for *_, ms in self._branches_of(architecture))

    def _branches_of(
        self, architecture: Architecture
    ) -> Iterator[tuple[int, int, float]]:
        """Stage, index of the scale and milliseconds of each branch."""
        for block in architecture.blocks():
            for scale, neurons in enumerate(block.channels):
                times = self.of_branch(block.stage, scale, neurons)
                yield block.stage, scale, float(times[neurons])

    def corrected(self, architecture: Architecture, milliseconds: float) -> CostTable:
        """The table by which an architecture takes what it was measured to take.

        Branches beside each other may take more than the sum of what each takes alone.
        So what differs is taken to be in the branches of coarser scales, whose times
        are multiplied by a factor of 0.5 to 2. What that leaves, or all of it where
        there are none, multiplies all times.

        Args:
            architecture: Of the table's shape.
            milliseconds: More than 0.
        """
        coarse = sum(
            ms for _, scale, ms in self._branches_of(architecture) if scale > 0
        )
        table, predicted = self, self.milliseconds(architecture)
        if predicted <= 0:  # noise: no factor brings it to a time
            return self
        if coarse > 0:
            rest = predicted - coarse
            factor = min(max((milliseconds - rest) / coarse, 0.5), 2.0)
            table = self._scaled(1.0, factor)
        factor = milliseconds / table.milliseconds(architecture)
        return table._scaled(factor, factor)

    def _scaled(self, rest: float, coarser: float) -> CostTable:
        """The table with the times of coarser scales, and the rest, multiplied.

        The twin's stays.
        """
        branches = [
            [
                [(n, (coarser if scale else rest) * ms) for n, ms in branch]
                for scale, branch in enumerate(stage)
            ]
            for stage in self.branches
        ]
        return dataclasses.replace(self, fixed=rest * self.fixed, branches=branches)

    def to_json(self) -> dict[str, Any]:
        """The table as plain JSON values."""
        return {
            "about": dict(self.about),
            "twin": self.twin,
            "fixed": self.fixed,
            "branches": [[list(map(list, b)) for b in s] for s in self.branches],
        }

    @classmethod
    def from_json(cls, content: Any) -> CostTable:
        """The table that `to_json` gave.

        Raises:
            ValueError: It is none; the message names the entry.
        """
        try:
            fixed, twin, about = (content[key] for key in ("fixed", "twin", "about"))
            branches = [
                [[(int(n), float(ms)) for n, ms in branch] for branch in stage]
                for stage in content["branches"]
            ]
            table = cls(float(fixed), branches, float(twin), dict(about))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"it is no table of costs: {error!r}") from error
        for branch in (branch for stage in branches for branch in stage):
            counts = [neurons for neurons, _ in branch]
            if not branch or counts != sorted(set(counts)) or counts[0] < 1:
                raise ValueError(
                    f"its `branches` must have ascending neurons: {branch}"
                )
        times = [
            table.fixed,
            table.twin,
            *(ms for s in branches for b in s for _, ms in b),
        ]
        if not all(map(math.isfinite, times)) or table.twin <= 0:
            raise ValueError("its times must be finite, that of the twin above 0")
        return table


@dataclasses.dataclass(frozen=True)
class LatencyAllocation:
    """An allocation that meets a time.

    Attributes:
        architecture: The allocation; blocks of a stage differ, so that it has no
            budgets.
        milliseconds: What it is predicted to take.
        target: The most that this may be.
    """

    architecture: Architecture
    milliseconds: float
    target: float

    @property
    def gap(self) -> float:
        """What is left of the target, as a fraction of it; never negative."""
        return (self.target - self.milliseconds) / self.target


def allocate_for_latency(
    architecture: Architecture,
    importance: Importance,
    costs: CostTable,
    target: float | None = None,
    *,
    minimum: int = 0,
    align: int = 1,
) -> LatencyAllocation:
    """Keeps the most important neurons that a time allows.

    Neurons of all blocks compete by importance per millisecond, and the best of a scale
    go first. The first neuron of a branch also pays for the branch: one whose neurons
    are not worth that has none. Every block keeps a neuron.

    Args:
        architecture: The one whose model the importance was measured on, such as
            `seed_architecture` returns.
        importance: As `neuron_importance` returns it.
        costs: What was measured for this architecture.
        target: Milliseconds that a batch may take. Default: those of the twin.
        minimum: Least neurons to keep at each scale that a block has.
        align: Neurons are kept in groups of so many of a scale.

    Returns:
        The architecture, named `<Name>Allocated`, what it is predicted to take, and the
        target.

    Raises:
        ValueError: The importance or the table is not this architecture's, the target
            cannot be reached, or an argument is not allowed.
    """
    blocks = checked(importance)
    check_architecture(architecture, importance)
    check_minimum(blocks, minimum)
    check_table(architecture, costs)
    target = costs.twin if target is None else target
    if not isinstance(target, numbers.Real) or not 0 < target < math.inf:
        raise ValueError(f"`target` must be milliseconds. Received: {target!r}.")
    groups = grouped(blocks, align)
    choice = _Choice(architecture, groups, costs, -(-minimum // align), align)
    lowest, highest = choice.total(choice.at(math.inf)), choice.total(choice.at(0.0))
    if target < lowest:
        raise ValueError(
            f"`target` must be {lowest:.4g} ms or more, what the architecture takes "
            f"with the fewest neurons. Received: {target:.4g}."
        )
    counts = choice.within(target) if target < highest else choice.at(0.0)
    rows = [[int(count) for count in row] for row in counts]
    found = with_rows(architecture, rows, None, align)
    return LatencyAllocation(found, costs.milliseconds(found), float(target))


class _Choice:
    """How many groups of neurons each branch keeps, at a price of a millisecond.

    At a price, each branch chooses for itself what is worth most after paying; the
    lower the price, the longer all of them take. So halving finds the best choice
    within a time, of those on the convex hull; what is left is filled with what is
    worth most of it.
    """

    def __init__(
        self,
        architecture: Architecture,
        groups: Blocks,
        costs: CostTable,
        least: int,
        align: int,
    ):
        self._fixed = costs.fixed
        self._least = least
        self._worth = [[_worth(scale) for scale in block] for block in groups]
        self._times = [
            [
                costs.of_branch(place.stage, index, align * len(scale))[::align]
                for index, scale in enumerate(block)
            ]
            for place, block in zip(architecture.blocks(), groups, strict=True)
        ]

    def _branches(self) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        for row, (worths, times) in enumerate(
            zip(self._worth, self._times, strict=True)
        ):
            for column, (worth, time) in enumerate(zip(worths, times, strict=True)):
                yield row, column, worth, time

    def at(self, price: float) -> np.ndarray:
        """Groups by block and scale."""
        counts = np.zeros((len(self._worth), len(self._worth[0])), int)
        gains = np.full(counts.shape, -math.inf)  # of having any
        some = counts.copy()
        for row, column, worth, time in self._branches():
            left = _left(worth, time, price)
            least = min(self._least, len(left) - 1)
            counts[row, column] = least + int(np.argmax(left[least:]))
            if len(left) > 1:
                some[row, column] = 1 + int(np.argmax(left[1:]))
                gains[row, column] = left[some[row, column]]
        for row in np.flatnonzero(counts.sum(1) == 0).tolist():  # each has a neuron
            best = int(np.argmax(gains[row]))
            counts[row, best] = some[row, best]
        return counts

    def total(self, counts: np.ndarray) -> float:
        """Milliseconds of a choice."""
        return self._fixed + sum(
            float(time[counts[row, column]])
            for row, column, _, time in self._branches()
        )

    def within(self, target: float) -> np.ndarray:
        """The choice worth most of those that are found within a time."""
        low, high = 0.0, 1.0
        while self.total(self.at(high)) > target:
            low, high = high, 2 * high
            if high > 1e300:
                return self.at(math.inf)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self.total(self.at(middle)) > target:
                low = middle
            else:
                high = middle
        return self._filled(self.at(high), target)

    def _filled(self, counts: np.ndarray, target: float) -> np.ndarray:
        """Adds what is worth most of the time that it takes, while there is time."""
        while True:
            left = target - self.total(counts)
            best: float = 0.0
            where: tuple[int, int, int] | None = None
            for row, column, worth, time in self._branches():
                now = int(counts[row, column])
                more = worth[now + 1 :] - worth[now]
                longer = time[now + 1 :] - time[now]
                if not len(more) or not (longer <= left).any():
                    continue
                rates = np.where(longer <= left, more / np.maximum(longer, 1e-12), -1)
                index = int(np.argmax(rates))
                if rates[index] > best:
                    best, where = float(rates[index]), (row, column, now + 1 + index)
            if where is None:
                return counts
            counts[where[0], where[1]] = where[2]


def _never_falling(values: np.ndarray) -> np.ndarray:
    """The nearest numbers, by squares, of which none is less than the one before.

    Source: Barlow et al., "Statistical Inference under Order Restrictions", 1972:
    neighbours that fall are replaced by their mean, until none does.
    """
    pools: list[tuple[float, int]] = []  # mean, how many
    for value in values.tolist():
        pools.append((value, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (one, first), (other, second) = pools[-2:]
            both = first + second
            pools[-2:] = [((first * one + second * other) / both, both)]
    means, counts = zip(*pools, strict=True)
    return np.repeat(means, counts)


def _worth(groups: np.ndarray) -> np.ndarray:
    """Importance of the best 0, 1, ... groups."""
    return np.concatenate([[0.0], np.sort(groups)[::-1].cumsum()])


def _left(worth: np.ndarray, time: np.ndarray, price: float) -> np.ndarray:
    """What choices are worth after paying; at an infinite price, only time counts."""
    return -time if math.isinf(price) else worth - price * time


def check_table(architecture: Architecture, costs: CostTable) -> None:
    """Compares what a table says of its network with an architecture.

    A table that was not measured by the command may say less than all of it.

    Raises:
        ValueError: It is another network.
    """
    scales = [len(architecture.scales)] * len(architecture.stage_widths)
    pairs = {"scales by stage": ([len(stage) for stage in costs.branches], scales)}
    for name in _SHAPE:
        if name in costs.about:
            pairs[name] = (costs.about[name], getattr(architecture, name))
    for name, (received, expected) in pairs.items():
        if _plain(received) != _plain(expected):
            raise ValueError(
                f"`costs` must be measured for {architecture.name}: {name} "
                f"{_plain(expected)}. Received: {_plain(received)}."
            )


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    return list(value) if isinstance(value, tuple) else value
