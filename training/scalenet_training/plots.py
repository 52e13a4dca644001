"""Figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# Saved to files alone: no display is needed.
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def plot_curves(runs: Mapping[str, Sequence[Mapping[str, float]]], path: str) -> None:
    """Draws training and validation top-1 error over the epochs.

    Args:
        runs: Label -> rows of metrics.csv.
        path: PNG file to write.

    Source: Li et al., CVPR 2019, supplement, figure 1.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
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
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
