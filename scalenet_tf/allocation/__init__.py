"""Neuron allocation from data: seed network, importance of its neurons, selection.

The method, as functions of data: build the seed network of `seed_architecture` and
train it; `neuron_importance` reads what it learned; `allocate_for_macs` keeps the
most important neurons of each block such that the network meets a cost;
`allocate_for_latency` does so for a time that was measured. The result is an
`Architecture`, to be trained from scratch.

Source: Li et al., CVPR 2019, section 3.3.
"""

from scalenet_tf.allocation.importance import (
    Importance,
    RankCorrelation,
    check_spread,
    neuron_importance,
    rank_correlation,
)
from scalenet_tf.allocation.latency import (
    CostTable,
    LatencyAllocation,
    allocate_for_latency,
)
from scalenet_tf.allocation.selection import allocate
from scalenet_tf.allocation.targets import (
    MAX_GAP,
    Criterion,
    MacsAllocation,
    allocate_for_macs,
    seed_architecture,
    stage_budgets,
)

__all__ = [
    "MAX_GAP",
    "CostTable",
    "Criterion",
    "Importance",
    "LatencyAllocation",
    "MacsAllocation",
    "RankCorrelation",
    "allocate",
    "allocate_for_latency",
    "allocate_for_macs",
    "check_spread",
    "neuron_importance",
    "rank_correlation",
    "seed_architecture",
    "stage_budgets",
]
