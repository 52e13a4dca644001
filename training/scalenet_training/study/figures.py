"""Figures of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from scalenet_training.drawing import (
    colour,
    legend_below,
    marker,
    new_figure,
    save,
    scale_values,
    style_axes,
    title,
)
from scalenet_training.study.results import Result, mean_curves, summarize
from scalenet_training.study.spec import Study

_PARTS = (("top1_error", "--", "training"), ("val_top1_error", "-", "validation"))
_FEW = 30  # epochs, each of which has a marker


def plot_mean_curves(
    study: Study,
    metrics: Mapping[str, Mapping[int, Sequence[Mapping[str, float]]]],
    path: str,
) -> None:
    """Draws the mean top-1 errors over the epochs, with the range over the seeds.

    Args:
        study: For its title.
        metrics: Arm -> seed -> rows of metrics.csv.
        path: PNG or SVG file to write.

    Source: Li et al., CVPR 2019, figure 1.
    """
    figure = new_figure(7.5, 5 + 0.12 * len(metrics))
    axes = figure.add_subplot()
    handles: list[Any] = []
    values: list[float] = []
    for index, (arm, rows) in enumerate(metrics.items()):
        for column, line, _ in _PARTS:
            curve = mean_curves(rows, column)
            epochs = range(1, len(curve) + 1)
            mean, low, high = zip(*((100 * x for x in v) for v in curve), strict=True)
            sign = marker(index) if len(curve) < _FEW else None
            style: dict[str, Any] = {
                "color": colour(index),
                "marker": sign,
                "markersize": 4,
                "linewidth": 0.8 if column == _PARTS[0][0] else 1.6,
            }
            axes.plot(epochs, mean, line, **style)
            axes.fill_between(epochs, low, high, color=colour(index), alpha=0.15, lw=0)
            values += low
        label = f"{arm} ({len(rows)} run{'s' if len(rows) > 1 else ''})"
        handles.append(Line2D([], [], color=colour(index), label=label))
    handles += [Line2D([], [], color="0.3", ls=ls, label=p) for _, ls, p in _PARTS]
    style_axes(axes, xlabel="epoch", ylabel="top-1 error (%)")
    scale_values(axes, values)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    note = "Lines: means; areas: lowest to highest run. Training: augmented pictures"
    legend_below(figure, handles, note=note)
    title(figure, study.title)
    save(figure, path)


def plot_error_by_macs(study: Study, results: Sequence[Result], path: str) -> None:
    """Draws the mean error of each arm over its MACs, with standard errors."""
    figure = new_figure(7.5, 5.5)
    axes = figure.add_subplot()
    handles: list[Any] = []
    for index, summary in enumerate(summarize(study, results)):
        macs = [run.macs / 1e6 for run in summary.results]
        axes.scatter(
            macs,
            [100 * run.error for run in summary.results],
            s=12,
            color=colour(index),
            alpha=0.5,
        )
        drawn = axes.errorbar(
            sum(macs) / len(macs),
            100 * summary.error.mean,
            yerr=100 * summary.error.standard_error,
            fmt=marker(index),
            capsize=3,
            color=colour(index),
            label=summary.arm,
        )
        handles.append(drawn)
    style_axes(
        axes,
        xlabel="MACs of an image (millions)",
        ylabel="top-1 error after the last epoch (%)",
    )
    legend_below(figure, handles, note="Small dots: single runs")
    title(figure, f"{study.title}: mean and standard error")
    save(figure, path)
