"""Figures of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from scalenet_training.study.results import Result, mean_curves, summarize
from scalenet_training.study.spec import Study

# Okabe and Ito's colours, which most colour-blind readers can tell apart.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_PARTS = (("top1_error", "--", "training"), ("val_top1_error", "-", "validation"))


def plot_mean_curves(
    study: Study,
    metrics: Mapping[str, Mapping[int, Sequence[Mapping[str, float]]]],
    path: str,
) -> None:
    """Draws the mean top-1 errors over the epochs, with the range over the seeds.

    Args:
        study: For its title.
        metrics: Arm -> seed -> rows of metrics.csv.
        path: PNG file to write.

    Source: Li et al., CVPR 2019, figure 1.
    """
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for index, (arm, rows) in enumerate(metrics.items()):
        color = _COLORS[index % len(_COLORS)]
        for column, style, part in _PARTS:
            curve = mean_curves(rows, column)
            epochs = range(1, len(curve) + 1)
            mean, low, high = zip(*((100 * x for x in v) for v in curve), strict=True)
            label = f"{arm}, {part} ({len(rows)} runs)"
            marker = "." if len(curve) < 30 else None
            axes.plot(epochs, mean, style, color=color, marker=marker, label=label)
            axes.fill_between(epochs, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set(xlabel="epoch", ylabel="top-1 error, %", title=study.title)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)


def plot_error_by_macs(study: Study, results: Sequence[Result], path: str) -> None:
    """Draws the mean error of each arm over its MACs, with standard errors."""
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for index, summary in enumerate(summarize(study, results)):
        color = _COLORS[index % len(_COLORS)]
        macs = [run.macs / 1e6 for run in summary.results]
        axes.scatter(
            macs,
            [100 * run.error for run in summary.results],
            s=12,
            color=color,
            alpha=0.5,
        )
        axes.errorbar(
            sum(macs) / len(macs),
            100 * summary.error.mean,
            yerr=100 * summary.error.standard_error,
            fmt="o",
            capsize=3,
            color=color,
            label=summary.arm,
        )
    axes.set(
        xlabel="MACs of an image, millions",
        ylabel="top-1 error after the last epoch, %",
        title=f"{study.title}: mean and standard error",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)
