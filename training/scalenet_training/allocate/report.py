"""What the command `allocate` prints."""

from __future__ import annotations

import dataclasses
import os

from rich.console import Console
from rich.table import Table

from scalenet_tf import Architecture
from scalenet_tf.allocation import RankCorrelation
from scalenet_training.allocate.latency import Timed
from scalenet_training.allocate.learning import Learned
from scalenet_training.invocation import typed_as
from scalenet_training.recipes.presets import options_of
from scalenet_training.runs.run_folder import RunFolder


def print_allocation(learned: Learned) -> None:
    """Prints the neurons of each block by scale, and the cost."""
    network, found = learned.architecture, learned.found
    table = Table(title=f"{network.name}: neurons by block and scale")
    table.add_column("block")
    for scale in network.scales:
        table.add_column(f"scale {scale}", justify="right")
    table.add_column("sum", justify="right")
    for block in network.blocks():
        total = sum(block.channels)
        shares = [f"{count} ({count / total:.0%})" for count in block.channels]
        table.add_row(block.name, *shares, str(total))
    Console().print(table)
    if isinstance(found, Timed):
        _print_times(found)
        return
    ratio = "" if found.ratio is None else f"ratio {float(found.ratio):.4f}, "
    print(
        f"{ratio}{found.macs:,} MACs of at most {found.target:,.0f}: "
        f"{found.gap:.2%} below the target"
    )


def _print_times(timed: Timed) -> None:
    verdict = "" if timed.meets else ", which it does NOT meet"
    print(
        f"{timed.milliseconds:.3f} ms measured ({timed.found.milliseconds:.3f} "
        f"predicted) of at most {timed.target:.3f}{verdict}; "
        f"the twin {timed.costs.twin:.3f}.\n"
        f"Costs of the branches: {timed.table}"
    )


def print_correlation(correlation: RankCorrelation) -> None:
    """Prints how far two seed networks agree about the importance of neurons."""
    low, high = min(correlation.blocks), max(correlation.blocks)
    print(
        "rank correlation with the other seed network: "
        f"{correlation.overall:.3f} over all neurons, {low:.3f} to {high:.3f} "
        "within a block"
    )


def training_command(network: Architecture, file: str, seed_folder: str) -> list[str]:
    """The command that trains the network as its seed network was trained.

    Args:
        network: What was allocated.
        file: Its JSON file.
        seed_folder: Folder of the seed network's run.
    """
    recorded = RunFolder(seed_folder).read_record().config
    dataset = os.path.basename(os.path.normpath(recorded.dataset))
    config = dataclasses.replace(
        recorded,
        model=file,
        gamma_l1=0.0,
        workdir=os.path.join("runs", f"{dataset}-{network.name}"),
    )
    return typed_as("train", options_of(config))
