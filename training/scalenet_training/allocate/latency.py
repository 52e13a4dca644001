"""An allocation that takes no longer than it may, measured and not only predicted."""

from __future__ import annotations

import dataclasses
import json
import os

from scalenet_tf import Architecture, allocation
from scalenet_tf.allocation import CostTable, Importance, LatencyAllocation
from scalenet_training.allocate.config import LatencyOptions
from scalenet_training.allocate.costs import Runtime, measure_costs
from scalenet_training.errors import UsageError
from scalenet_training.networks.targets import parse_target
from scalenet_training.runs.files import write_json
from scalenet_training.text import differing

_ATTEMPTS = 6
_ENOUGH = 0.01  # of the target that may be left


@dataclasses.dataclass(frozen=True)
class Timed:
    """An allocation whose time was measured.

    Attributes:
        found: The allocation, and what it was predicted to take.
        milliseconds: What it takes, relative to the twin that was run in turns with it.
        target: Milliseconds that it may take.
        costs: The table that it was chosen by.
        table: The file of that.
    """

    found: LatencyAllocation
    milliseconds: float
    target: float
    costs: CostTable
    table: str

    @property
    def meets(self) -> bool:
        """Whether it takes no longer than it may."""
        return self.milliseconds <= self.target


def allocate_within(
    architecture: Architecture,
    importance: Importance,
    options: LatencyOptions,
    classes: int,
    table: str,
    *,
    minimum: int,
    align: int,
) -> Timed:
    """Chooses the most important neurons within a time, and measures what they take.

    Where that is not what was predicted, the costs are corrected by it and the choice
    is made anew, some times. So the prediction of the result is one that was made
    before it was measured, from the attempt before it. The first correction is by the
    twin, which is the network with all neurons at the finest scale.

    Args:
        architecture: The seed network's.
        importance: Of its neurons.
        options: The target, the runtime, how it is measured.
        classes: Classes of the last layer.
        table: File of the costs: read where it exists, else measured and written.
        minimum: Least neurons at each scale of a block.
        align: Neurons are kept in groups of so many.

    Raises:
        ValueError: The target cannot be reached.
        UsageError: The file is not a table of these costs.
        RunError: The file cannot be written.
    """
    runtime = Runtime(architecture, options, classes)
    costs = _costs(runtime, table)
    assert options.target_latency is not None
    value, is_ratio = parse_target(options.target_latency, "`target_latency`", "ms")
    target = value * costs.twin if is_ratio else value
    keep = {"minimum": minimum, "align": align}
    corrected, best = _by_the_twin(costs, architecture), None
    for _ in range(_ATTEMPTS):
        try:
            found = allocation.allocate_for_latency(
                architecture, importance, corrected, target, **keep
            )
        except ValueError:
            if best is None:
                raise
            break  # by the corrected costs, the fewest neurons take longer
        if best is not None and found.architecture == best.found.architecture:
            break
        taken = costs.twin * runtime.ratio(found.architecture, architecture.twin())
        timed = Timed(found, taken, target, costs, table)
        if best is None or _better(timed, best):
            best = timed
        if 0 <= target - taken <= _ENOUGH * target:
            break
        corrected = corrected.corrected(found.architecture, taken)
    assert best is not None
    return best


def _by_the_twin(costs: CostTable, architecture: Architecture) -> CostTable:
    """Costs by which the allocation that is the twin takes what the twin takes."""
    if architecture.scales[0] != 1:
        return costs
    row = [0] * (len(architecture.scales) - 1)
    twin = dataclasses.replace(
        architecture,
        budget_per_stage=None,
        allocation=[[block.width, *row] for block in architecture.blocks()],
    )
    return costs.corrected(twin, costs.twin)


def _better(new: Timed, old: Timed) -> bool:
    """Of those that meet the target the longer one, else the shorter."""
    if new.meets != old.meets:
        return new.meets
    return (new.milliseconds > old.milliseconds) == new.meets


def _costs(runtime: Runtime, path: str) -> CostTable:
    if not os.path.exists(path):
        costs = measure_costs(runtime)
        write_json(path, costs.to_json())
        return costs
    try:
        with open(path, encoding="utf-8") as file:
            costs = CostTable.from_json(json.load(file))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"`cost_table` {path!r}: {error}.") from error
    wanted = runtime.identity()
    pairs = {name: (costs.about.get(name), value) for name, value in wanted.items()}
    others = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    if others:
        raise UsageError(
            f"`cost_table` {path!r} was measured with another {differing(others)}. "
            "Give the path of a file that does not exist to measure anew."
        )
    return costs
