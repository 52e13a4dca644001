"""Figure of a comparison of networks."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from scalenet_training.benchmark.model_speed import ModelSpeed


def plot_times(rows: Sequence[ModelSpeed], path: str) -> None:
    """Draws the time of an image over its MACs, with the spread of the rounds.

    Args:
        rows: What was measured; a colour for each runtime and batch size.
        path: PNG file to write.
    """
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    series = dict.fromkeys((row.runtime, row.batch_size) for row in rows)
    for runtime, batch_size in series:
        own = [r for r in rows if (r.runtime, r.batch_size) == (runtime, batch_size)]
        macs = [row.macs / 1e9 for row in own]
        times = [row.milliseconds / batch_size for row in own]
        spread = [
            [(row.milliseconds - row.low) / batch_size for row in own],
            [(row.high - row.milliseconds) / batch_size for row in own],
        ]
        label = f"{runtime}, batches of {batch_size}"
        axes.errorbar(macs, times, yerr=spread, fmt="o", capsize=3, label=label)
        for row, x, y in zip(own, macs, times, strict=True):
            axes.annotate(row.network, (x, y), (4, 4), textcoords="offset points")
    axes.set(xlabel="MACs of an image, billions", ylabel="time of an image, ms")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)
