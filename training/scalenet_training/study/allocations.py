"""The allocations of a study, each made by an importance of its own."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from scalenet_tf import Architecture, allocation
from scalenet_tf.allocation import Importance
from scalenet_training.networks.starting_point import resolve_architecture
from scalenet_training.networks.targets import target_macs
from scalenet_training.study.spec import AllocationSpec


def make_allocation(
    spec: AllocationSpec,
    classes: int,
    seed: int,
    learned: Importance | None = None,
) -> Architecture:
    """Makes the architecture that a run trains.

    Args:
        spec: What is asked for.
        classes: Classes of the dataset.
        seed: Of the run; decides what is drawn at random.
        learned: The importance in the seed network, for `"learned"`.

    Raises:
        ValueError: The target cannot be reached, and the message gives the range; or
            the seed network's training has not told its neurons apart.
    """
    whole = resolve_architecture(spec.base)
    base = narrowed(whole, spec.width)
    seed_network = allocation.seed_architecture(base)
    name = re.sub(r"\W", "_", f"{whole.name}_{spec.name}")
    if spec.kind == "seed":
        return dataclasses.replace(seed_network, name=name)
    if learned is None:
        importance = _IMPORTANCES[spec.kind](seed_network, whole, seed)
    else:
        allocation.check_spread(learned)
        importance = _by_scale(learned) if spec.importance != "gamma" else learned
    found = allocation.allocate_for_macs(
        seed_network,
        importance,
        target_macs(spec.target_macs, whole, classes, "`target_macs`"),
        classes=classes,
    )
    return dataclasses.replace(found.architecture, name=name)


def narrowed(architecture: Architecture, width: float) -> Architecture:
    """The architecture with stages of that part of their width.

    Its allocation is in proportion, and serves to be replaced.
    """
    if width == 1:
        return architecture

    def narrow(counts: Sequence[int]) -> tuple[int, ...]:
        return tuple(max(1, round(width * count)) for count in counts)

    return dataclasses.replace(
        architecture,
        stage_widths=narrow(architecture.stage_widths),
        allocation=tuple(map(narrow, architecture.allocation)),
        budget_per_stage=None,
        learned_on=None,
    )


def _random(network: Architecture, _: Architecture, seed: int) -> Importance:
    generator = np.random.default_rng(seed)
    return [
        {
            scale: generator.random(count)
            for scale, count in zip(network.scales, block.channels, strict=True)
        }
        for block in network.blocks()
    ]


def _even(network: Architecture, whole: Architecture, _: int) -> Importance:
    return _proportional(network, [[1] * len(whole.scales)] * len(network.allocation))


def _published(network: Architecture, whole: Architecture, _: int) -> Importance:
    return _proportional(network, whole.allocation)


def _twin(network: Architecture, whole: Architecture, _: int) -> Importance:
    """Neurons of scale 1 before all others: a narrower ResNet while they suffice."""
    first = [1] + [0] * (len(whole.scales) - 1)
    return _proportional(network, [first] * len(network.allocation))


_Make = Callable[[Architecture, Architecture, int], Importance]
_IMPORTANCES: Mapping[str, _Make] = MappingProxyType(
    {"random": _random, "even": _even, "published": _published, "twin": _twin}
)


def _proportional(network: Architecture, rows: Sequence[Sequence[int]]) -> Importance:
    """An importance by which each scale keeps neurons in proportion to its number."""

    def falling(count: int, share: int) -> np.ndarray:
        # The n-th neuron's is share / n, as seats are divided in proportion.
        return share / (np.arange(count) + 0.5) if share else np.zeros(count)

    return [
        {
            scale: falling(count, share)
            for scale, count, share in zip(
                network.scales, block.channels, row, strict=True
            )
        }
        for block, row in zip(network.blocks(), rows, strict=True)
    ]


def _by_scale(importance: Importance) -> Importance:
    return [
        {scale: values / (values.mean() or 1.0) for scale, values in block.items()}
        for block in importance
    ]
