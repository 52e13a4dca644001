"""Figures."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

# Figures are only saved to files, so that no display is needed.
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from scalenet_tf.architectures import Architecture


def plot_curves(runs: Mapping[str, Sequence[Mapping[str, float]]], path: str) -> None:
    """Draws training and validation top-1 error over the epochs.

    Args:
        runs: Label -> rows of metrics.csv.
        path: PNG file to write.

    Source: Li et al., CVPR 2019, supplement, figure 1.
    """
    figure = new_figure(7, 4.5)
    axes = figure.add_subplot()
    for index, (label, rows) in enumerate(runs.items()):
        epochs = [row["epoch"] + 1 for row in rows]
        color = f"C{index}"
        for column, style, part in (
            ("top1_error", "--", "training"),
            ("val_top1_error", "-", "validation"),
        ):
            axes.plot(
                epochs,
                [100 * row[column] for row in rows],
                style,
                color=color,
                marker="." if len(rows) < 30 else None,
                label=f"{label}, {part}",
            )
    axes.set(xlabel="epoch", ylabel="top-1 error (%)")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def plot_allocations(networks: Mapping[str, Architecture], path: str) -> None:
    """Draws the proportion of neurons at each scale, one stacked bar per block.

    Args:
        networks: Label -> architecture, one below the other.
        path: PNG file to write.

    Source: Li et al., CVPR 2019, the figure of the learned architectures.
    """
    widest = max(len(network.allocation) for network in networks.values())
    figure = new_figure(max(5.0, 2 + 0.28 * widest), 0.6 + 2.2 * len(networks))
    rows = figure.subplots(len(networks), squeeze=False)[:, 0]
    for axes, (label, network) in zip(rows, networks.items(), strict=True):
        _draw_allocation(axes, label, network)
    # Colours are those of the scales' positions: one legend is enough.
    most = max(networks.values(), key=lambda network: len(network.scales))
    handles = [
        Patch(color=f"C{index}", label=f"scale 1/{scale}" if scale > 1 else "scale 1")
        for index, scale in enumerate(most.scales)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    figure.savefig(path, dpi=150)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, with sides in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _draw_allocation(axes: Axes, label: str, network: Architecture) -> None:
    totals = [sum(row) for row in network.allocation]
    places = range(1, len(totals) + 1)
    below = [0.0] * len(totals)
    for index in range(len(network.scales)):
        shares = [
            row[index] / total
            for row, total in zip(network.allocation, totals, strict=True)
        ]
        axes.bar(places, shares, 0.85, bottom=below, color=f"C{index}")
        below = [low + share for low, share in zip(below, shares, strict=True)]
    for end in itertools.accumulate(network.blocks_per_stage[:-1]):
        axes.axvline(end + 0.5, color="black", linewidth=0.8)
    axes.set(title=label, xlabel="block", ylabel="neurons", ylim=(0, 1))
    axes.set_xlim(0.5, len(totals) + 0.5)
    axes.set_xticks([place for place in places if len(totals) < 20 or place % 5 == 0])
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def plot_error_against_macs(
    points: Mapping[str, Sequence[tuple[float, float]]],
    marks: Mapping[str, float],
    path: str,
) -> None:
    """Draws the errors of trials over their MACs.

    Args:
        points: Budget -> (MACs, error as a fraction) of each trial; the best of each
            budget is joined by a line.
        marks: Network -> MACs, drawn as vertical lines; those of more than three
            times, or less than a third of, the trials' MACs are left out.
        path: PNG file to write.
    """
    figure = new_figure(7, 4.5)
    axes = figure.add_subplot()
    all_macs = [macs / 1e6 for group in points.values() for macs, _ in group]
    for label, group in points.items():
        x, y = zip(*group, strict=True)
        axes.scatter(
            [macs / 1e6 for macs in x], [100 * e for e in y], s=18, label=label
        )
    best = sorted(min(group, key=lambda point: point[1]) for group in points.values())
    axes.plot(
        [macs / 1e6 for macs, _ in best],
        [100 * error for _, error in best],
        "k--o",
        markerfacecolor="none",
        label="best of each budget",
    )
    near = {
        label: macs / 1e6
        for label, macs in marks.items()
        if min(all_macs) / 3 <= macs / 1e6 <= 3 * max(all_macs)
    }
    for index, (label, macs) in enumerate(near.items()):
        style = ":" if "ResNet" in label or label.endswith("Twin") else "-."
        label = f"{label}, its MACs alone"
        axes.axvline(macs, color=f"C{index % 10}", ls=style, lw=1, label=label)
    costs = [*all_macs, *near.values()]
    axes.set_xlim(0.9 * min(costs), 1.1 * max(costs))
    axes.set(xlabel="MACs of an image (millions)", ylabel="top-1 validation error (%)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small")
    axes.set_title(
        "Vertical lines: cost of networks without an error measured on this data",
        fontsize="small",
    )
    figure.savefig(path, dpi=150)
