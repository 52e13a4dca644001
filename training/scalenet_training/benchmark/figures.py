"""Figure of a comparison of networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scalenet_training.benchmark.model_speed import ModelSpeed
from scalenet_training.drawing import (
    colour,
    legend_below,
    marker,
    new_figure,
    save,
    style_axes,
    title,
)


def plot_times(rows: Sequence[ModelSpeed], path: str) -> None:
    """Draws the time of an image over its MACs, with the spread of the rounds.

    Args:
        rows: What was measured; a colour for each runtime and batch size.
        path: PNG or SVG file to write.
    """
    figure = new_figure(7.5, 5.5)
    axes = figure.add_subplot()
    series = dict.fromkeys((row.runtime, row.batch_size) for row in rows)
    handles: list[Any] = []
    for index, (runtime, batch_size) in enumerate(series):
        own = [r for r in rows if (r.runtime, r.batch_size) == (runtime, batch_size)]
        macs = [row.macs / 1e9 for row in own]
        times = [row.milliseconds / batch_size for row in own]
        spread = [
            [(row.milliseconds - row.low) / batch_size for row in own],
            [(row.high - row.milliseconds) / batch_size for row in own],
        ]
        label = f"{runtime}, batches of {batch_size}"
        style: dict[str, Any] = {"color": colour(index), "fmt": marker(index)}
        handles.append(
            axes.errorbar(macs, times, yerr=spread, label=label, capsize=3, **style)
        )
    for network in dict.fromkeys(row.network for row in rows):
        slowest = max(
            (row.milliseconds / row.batch_size, row.macs / 1e9)
            for row in rows
            if row.network == network
        )
        axes.annotate(
            network, slowest[::-1], (4, 4), textcoords="offset points", fontsize=8
        )
    style_axes(
        axes, xlabel="MACs of an image (billions)", ylabel="time of an image (ms)"
    )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    legend_below(figure, handles, note="Bars: the spread of the rounds")
    title(figure, "Time of an image: medians")
    save(figure, path)
