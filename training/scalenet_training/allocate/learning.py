"""From data to an allocation: trains the seed network, reads it, keeps the best."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from scalenet_tf import Architecture, allocation, load_model
from scalenet_tf.allocation import Importance, MacsAllocation, RankCorrelation
from scalenet_tf.architectures import architecture_from_record
from scalenet_tf.files import read_json
from scalenet_training.allocate.config import AllocateConfig
from scalenet_training.allocate.latency import Timed, allocate_within
from scalenet_training.devices.cluster import is_chief
from scalenet_training.errors import RunError, UsageError, usage_errors
from scalenet_training.networks.allocation_file import PROVENANCE, write_allocation
from scalenet_training.networks.figures import plot_allocations
from scalenet_training.networks.targets import target_macs
from scalenet_training.runs.files import replacing
from scalenet_training.runs.locking import Lock, locked_folder
from scalenet_training.runs.metrics import METRICS_FILE, known
from scalenet_training.runs.record import RunRecord
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.runs.versions import versions
from scalenet_training.settings.training import comparable
from scalenet_training.text import differing
from scalenet_training.train.loop import train_and_evaluate
from scalenet_training.train.plan import Plan

_LENGTHS = ("epochs", "early_stopping")


@dataclasses.dataclass(frozen=True)
class Seed:
    """A seed network's run that has ended.

    Attributes:
        architecture: The seed network's.
        importance: Importance of its neurons, by block and scale.
        classes: Classes of the dataset.
        record: The run's record.
        metrics: The last row of its metrics.csv.
    """

    architecture: Architecture
    importance: Importance
    classes: int
    record: RunRecord
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Learned:
    """What an allocation from data has found.

    Attributes:
        found: The architecture and its cost: MACs, or a time with what was measured.
        correlation: How far the importances of two seed networks agree; `None` where
            they were not compared.
    """

    found: MacsAllocation | Timed
    correlation: RankCorrelation | None

    @property
    def architecture(self) -> Architecture:
        """The allocation."""
        found = self.found.found if isinstance(self.found, Timed) else self.found
        return found.architecture


def learn_allocation(config: AllocateConfig) -> Learned | None:
    """Trains the seed network, or reads its run, and writes the allocation.

    A run of the seed network that was interrupted is resumed, one that has ended is
    read.

    Returns:
        What was found and written, with its chart, to `config.output_file`; `None` in
        workers of a cluster that are not its chief.

    Raises:
        UsageError: The settings cannot be run; nothing was written.
        RunError: The seed network cannot be trained or gives no ranking.
    """
    chief = is_chief(os.environ, config.train.strategy)
    _check_output(config)
    if config.seed_run is None:
        check = functools.partial(_check_target, config)
        train_and_evaluate(config.seed_config, config.seed_folder, check)
    if not chief:
        return None
    RunFolder(config.seed_folder).read_record()  # or a folder would be made
    with _output_locked(config) as lock:
        return _learn(config, lock)


def _output_locked(
    config: AllocateConfig,
) -> contextlib.AbstractContextManager[Lock | None]:
    """Keeps writers out of the run's folder where the allocation is written there."""
    if config.output is not None:
        return contextlib.nullcontext()
    option = "`seed_run`" if config.seed_run else "`workdir`"
    return locked_folder(config.seed_folder, option)


def _learn(config: AllocateConfig, lock: Lock | None) -> Learned:
    _check_output(config)  # again, as another command may have written meanwhile
    seed = read_seed(config.seed_folder)
    try:
        # The range that can be reached depends on what was learned.
        find = allocate if config.target_latency is None else _allocate_within
        learned = Learned(find(config, seed), _compare(config, seed))
    except ValueError as error:
        kind = UsageError if config.seed_run else RunError
        raise kind(str(error)) from error
    if lock is not None:  # to measure takes a while
        lock.check()
    _write(config, seed, learned)
    return learned


def read_seed(folder: str) -> Seed:
    """Reads what a run of a seed network has learned.

    Raises:
        UsageError: It is no such run, or has not ended.
    """
    run = RunFolder(folder)
    record, rows = run.read_record(), run.rows()
    path = run.file("last.keras")
    if not rows or not os.path.isfile(path):
        name = os.path.basename(path) if rows else METRICS_FILE
        raise UsageError(
            f"{folder!r} is not a run that has finished an epoch: it has no {name}."
        )
    epochs, planned = int(rows[-1]["epoch"]) + 1, record.planned_epochs
    if not record.has_ended(rows):
        raise UsageError(
            f"{folder!r} has finished {epochs} of {planned} epochs: resume it first "
            "with the command that began it."
        )
    with usage_errors(about=f"{folder!r}: "):
        architecture = architecture_from_record(record.architecture)
        importance = allocation.neuron_importance(load_model(path, compile=False))
    return Seed(
        architecture=architecture,
        importance=importance,
        classes=len(record.class_names),
        record=record,
        metrics=rows[-1],
    )


def allocate(config: AllocateConfig, seed: Seed) -> MacsAllocation:
    """What the settings make of a seed network.

    Raises:
        ValueError: Training has not told the neurons apart, or the target cannot be
            reached.
    """
    allocation.check_spread(seed.importance)
    found = allocation.allocate_for_macs(
        seed.architecture,
        seed.importance,
        target_macs(config.target_macs, seed.architecture, seed.classes),
        minimum=config.minimum,
        criterion=config.criterion,
        classes=seed.classes,
        align=config.align,
    )
    named = _named(found.architecture, seed)
    return dataclasses.replace(found, architecture=named)


def _allocate_within(config: AllocateConfig, seed: Seed) -> Timed:
    allocation.check_spread(seed.importance)
    timed = allocate_within(
        seed.architecture,
        seed.importance,
        config,
        seed.classes,
        config.cost_file,
        minimum=config.minimum,
        align=config.align,
    )
    named = _named(timed.found.architecture, seed)
    found = dataclasses.replace(timed.found, architecture=named)
    return dataclasses.replace(timed, found=found)


def _named(architecture: Architecture, seed: Seed) -> Architecture:
    dataset = os.path.basename(os.path.normpath(seed.record.config.dataset))
    return dataclasses.replace(architecture, learned_on=dataset)


def _compare(config: AllocateConfig, seed: Seed) -> RankCorrelation | None:
    if config.compare_with is None:
        return None
    other = read_seed(config.compare_with)
    own, compared = seed.record, other.record
    if compared.config.seed == own.config.seed:
        raise ValueError(
            "`compare_with` must be a run of another `seed` than the seed network's, "
            f"{own.config.seed}. Received: {config.compare_with!r}, of the same."
        )
    differences = _differences(compared.config.identity(), own.config.identity())
    names = ["train_split"]
    if own.data is None or compared.data is None:
        names.append("dataset")
    elif own.data != compared.data:
        differences["data"] = (compared.data, own.data)
        names.append("data")
    found = {name: differences[name] for name in names if name in differences}
    if found:
        raise ValueError(
            "`compare_with` must be a run on the data of the seed network's. Received: "
            f"{config.compare_with!r}, with {differing(found)}."
        )
    return allocation.rank_correlation(seed.importance, other.importance)


def _differences(
    before: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Settings that two runs both have, and have differently."""
    return {
        name: (before[name], value)
        for name, value in now.items()
        if name in before and comparable(name, before[name]) != comparable(name, value)
    }


def _check_target(config: AllocateConfig, plan: Plan) -> None:
    """Refuses before the training what no importance could reach."""
    seed, classes = plan.architecture, plan.transform.classes
    target = target_macs(config.target_macs, seed, classes)
    if config.target_latency is not None:
        return  # nothing is measured yet
    # Where coarser neurons are more important, the lowest cost is the lowest of all.
    coarse_first = [
        {
            scale: np.full(neurons, float(index))
            for index, (scale, neurons) in enumerate(
                zip(seed.scales, block.channels, strict=True)
            )
        }
        for block in seed.blocks()
    ]
    with usage_errors():
        allocation.allocate_for_macs(
            seed,
            coarse_first,
            target,
            minimum=config.minimum,
            criterion=config.criterion,
            classes=classes,
            align=config.align,
        )


def _check_output(config: AllocateConfig) -> None:
    path = config.output_file
    folder = os.path.dirname(path) or "."
    if config.output is not None and not os.path.isdir(folder):
        raise UsageError(
            f"`output` must be in a folder that exists. Received: {path!r}."
        )
    if not os.path.exists(path):
        return
    try:
        # Files of version 0.1.0 say nothing of groups.
        before = {"align": 1, **read_json(path)[PROVENANCE]["selection"]}
    except (OSError, ValueError, KeyError, TypeError):
        before = None
    if before != config.selection():
        raise UsageError(
            f"`output` {path!r} exists, and was not made by these settings "
            f"({before or 'it is no allocation of this command'}; now "
            f"{config.selection()}). Give another `output`."
        )
    _check_same_seed(config)


def _check_same_seed(config: AllocateConfig) -> None:
    """Refuses to replace what another run of a seed network gave."""
    path = config.output_file
    run = read_json(path)[PROVENANCE].get("seed_run")
    before = run.get("config") if isinstance(run, dict) else None
    if not isinstance(before, dict):
        return
    settings = config.seed_config
    if config.seed_run is not None:
        settings = RunFolder(config.seed_run).read_record().config
    changed = _differences(before, settings.identity())
    for name in _LENGTHS:  # a run that has gone on is the same one
        changed.pop(name, None)
    if changed:
        raise UsageError(
            f"`output` {path!r} exists, and was made from another seed network: "
            f"{differing(changed, 'then')}. Give another `output`."
        )


def _write(config: AllocateConfig, seed: Seed, learned: Learned) -> None:
    path, network = config.output_file, learned.architecture
    provenance = {
        "command": sys.argv,
        "selection": config.selection(),
        "macs": network.macs(seed.classes),
        **_cost(learned.found),
        "budget_per_block": [sum(row) for row in network.allocation],
        "classes": seed.classes,
        "rank_correlation": learned.correlation and _plain(learned.correlation),
        "seed_run": {
            "config": seed.record.config.identity(),
            "architecture": seed.architecture.name,
            "training_examples": seed.record.training_examples,
            "metrics": known(seed.metrics),
            "versions": seed.record.versions,
        },
        "versions": versions(),
    }
    chart = f"{os.path.splitext(path)[0]}.png"
    with replacing(chart) as temporary:
        plot_allocations({network.name: network}, temporary)
    write_allocation(path, network, provenance)


def _plain(correlation: RankCorrelation) -> dict[str, Any]:
    """A correlation as JSON, which has no NaN."""
    blocks = [None if math.isnan(value) else value for value in correlation.blocks]
    overall = correlation.overall
    return {"blocks": blocks, "overall": None if math.isnan(overall) else overall}


def _cost(found: MacsAllocation | Timed) -> dict[str, Any]:
    """What an allocation was chosen by, as plain JSON values."""
    if isinstance(found, Timed):
        return {
            "target_milliseconds": found.target,
            "predicted_milliseconds": found.found.milliseconds,
            "measured_milliseconds": found.milliseconds,
            "costs": {"twin": found.costs.twin, **found.costs.about},
        }
    return {
        "target_macs": found.target,
        "gap": found.gap,
        "ratio": None if found.ratio is None else str(found.ratio),
    }
