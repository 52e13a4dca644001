"""Figures of allocations. Imports no TensorFlow."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from scalenet_tf.architectures import Architecture
from scalenet_training.drawing import colour, legend_below, new_figure, save, title
from scalenet_training.text import printable

_MANY = 20  # blocks, of which not every one has its number


def plot_allocations(networks: Mapping[str, Architecture], path: str) -> None:
    """Draws the share of neurons at each scale, one stacked bar per block.

    Each network has its name, its MACs, its trainable parameters and its stages.

    Args:
        networks: Label -> architecture, one below the other.
        path: PNG or SVG file to write.

    Source: Li et al., CVPR 2019, the figure of the learned architectures.
    """
    widest = max(len(network.allocation) for network in networks.values())
    figure = new_figure(max(6.5, 2 + 0.28 * widest), 1.1 + 2.4 * len(networks))
    rows = figure.subplots(len(networks), squeeze=False)[:, 0]
    scales = sorted({s for network in networks.values() for s in network.scales})
    colours = {scale: colour(index) for index, scale in enumerate(scales)}
    for axes, (label, network) in zip(rows, networks.items(), strict=True):
        _draw_allocation(axes, label, network, colours)
    handles = [
        Patch(color=colours[s], label=f"scale 1/{s}" if s > 1 else "scale 1 (full)")
        for s in scales
    ]
    legend_below(figure, handles, columns=len(handles))
    title(figure, "Neurons of the aggregation by scale, in each block")
    save(figure, path)


def _draw_allocation(
    axes: Axes, label: str, network: Architecture, colours: Mapping[int, str]
) -> None:
    totals = [sum(row) for row in network.allocation]
    places = range(1, len(totals) + 1)
    below = [0.0] * len(totals)
    for index, scale in enumerate(network.scales):
        shares = [
            row[index] / total
            for row, total in zip(network.allocation, totals, strict=True)
        ]
        axes.bar(places, shares, 0.85, bottom=below, color=colours[scale])
        below = [low + share for low, share in zip(below, shares, strict=True)]
    _mark_stages(axes, network)
    about = (
        f"{printable(label)}: {network.macs() / 1e6:,.1f} M MACs at "
        f"{network.native_size}x{network.native_size}, "
        f"{network.parameters() / 1e6:,.2f} M parameters, "
        f"{network.default_classes:,} classes"
    )
    axes.set_title(about, fontsize=9, loc="left", pad=18, parse_math=False)
    axes.set(xlabel="block", ylabel="share of neurons", ylim=(0, 1))
    axes.set_xlim(0.5, len(totals) + 0.5)
    axes.set_xticks([p for p in places if len(totals) < _MANY or p % 5 == 0])
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.spines[["top", "right"]].set_visible(False)


def _mark_stages(axes: Axes, network: Architecture) -> None:
    """A line between stages, and above each its number."""
    ends = list(itertools.accumulate(network.blocks_per_stage))
    for end in ends[:-1]:
        axes.axvline(end + 0.5, color="black", linewidth=0.8)
    for stage, (end, blocks) in enumerate(
        zip(ends, network.blocks_per_stage, strict=True), start=1
    ):
        name = f"stage {stage}" if blocks > 1 else str(stage)
        middle = end + 0.5 - blocks / 2
        axes.text(middle, 1.02, name, ha="center", va="bottom", fontsize=8)
