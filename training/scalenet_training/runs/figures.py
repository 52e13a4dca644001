"""Figures of runs and of searches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
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
from scalenet_training.runs.metrics import Curve
from scalenet_training.runs.record import RunRecord
from scalenet_training.text import printable

_FEW = 30  # epochs, each of which has a marker
_NOTE = (
    "Training: means over an epoch, while the weights change, of pictures that are "
    "augmented as they are trained on"
)
_SAME = 1.02  # times the MACs, up to which lines would be one
# Title, columns of training and of validation, factor, for each panel.
_PANELS = (
    ("top-1 error (%)", "top1_error", "val_top1_error", 100),
    ("loss", "loss", "val_loss", 1),
)


class Data(NamedTuple):
    """What two runs must have in common to be compared.

    Attributes:
        dataset: As the run was told it.
        split: What was evaluated on.
        training: Number of training examples.
        evaluation: Number of examples that were evaluated on.
        classes: Number of classes.
        fingerprint: What distinguishes the examples from others of the same name and
            number; `None` where the run did not record it.
    """

    dataset: str
    split: str
    training: int
    evaluation: int
    classes: int
    fingerprint: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, record: RunRecord) -> Data:
        """The data of a run."""
        return cls(
            record.config.dataset.rstrip("/").rpartition("/")[2],
            record.eval_split,
            record.training_examples,
            record.evaluation_examples,
            len(record.class_names),
            record.data,
        )

    def agrees(self, other: Data) -> bool:
        """Whether two are the same, as far as both are known."""
        known = None not in (self.fingerprint, other.fingerprint)
        told = [
            one if known else one._replace(fingerprint=None) for one in (self, other)
        ]
        return told[0] == told[1]

    def __str__(self) -> str:
        """As a title has it."""
        return (
            f"{self.dataset}: {self.classes:,} classes, {self.training:,} training "
            f"images, evaluated on {self.evaluation:,} of {self.split}"
        )


def by_data(runs: Mapping[str, Data]) -> list[dict[str, Data]]:
    """Runs in groups, in each of which all are on the same data."""
    groups: list[dict[str, Data]] = []
    for run, data in runs.items():
        for group in groups:
            if all(data.agrees(other) for other in group.values()):
                group[run] = data
                break
        else:
            groups.append({run: data})
    return groups


def told_apart(runs: Mapping[str, Data]) -> str:
    """Runs and their data, for a message that says that these are not the same."""
    told = {run: str(data) for run, data in runs.items()}
    alike = len({*told.values()}) < len(told)
    more = " (other images, by the fingerprints in config.json)" if alike else ""
    return "; ".join(f"{run!r} on {text}" for run, text in told.items()) + more


def plot_curves(runs: Mapping[str, Curve], path: str, about: str = "") -> None:
    """Draws training and validation error, and loss beside it, over the epochs.

    Errors are in per cent, and the best epoch, whose weights are kept, is marked.

    Args:
        runs: Label -> epochs.
        path: PNG or SVG file to write.
        about: Title; the data.

    Source: Li et al., CVPR 2019, supplement, figure 1.
    """
    figure = new_figure(10, 4.6 + 0.12 * len(runs))
    panels = figure.subplots(1, len(_PANELS))
    for axes, panel in zip(panels, _PANELS, strict=True):
        _draw_panel(axes, runs, *panel)
    handles = [
        Line2D([], [], color=colour(i), marker=marker(i), label=_told(label, curve))
        for i, (label, curve) in enumerate(runs.items())
    ]
    for line, label, face in (("-", "validation", "0.3"), ("--", "training", "white")):
        sign: dict[str, Any] = {"marker": "o", "markersize": 5, "markerfacecolor": face}
        sign |= {"color": "0.3", "linestyle": line}
        handles.append(Line2D([], [], label=label, **sign))
    star: dict[str, Any] = {"marker": "*", "markersize": 10, "linestyle": ""}
    handles.append(Line2D([], [], color="0.6", label="best epoch", **star))
    legend_below(figure, handles, note=_NOTE)
    number = f"{len(runs)} run{'s' if len(runs) > 1 else ''}"
    title(figure, f"{about} ({number})" if about else number)
    save(figure, path)


def _told(label: str, curve: Curve) -> str:
    best = curve.best
    error, epoch = 100 * best["val_top1_error"], best["epoch"] + 1
    return f"{printable(label)}: best {error:.2f} % in epoch {epoch:.0f}"


def _draw_panel(
    axes: Axes,
    runs: Mapping[str, Curve],
    name: str,
    training: str,
    validation: str,
    factor: float,
) -> None:
    values: list[float] = []
    for index, curve in enumerate(runs.values()):
        rows, best = curve.rows, curve.best
        epochs = [row["epoch"] + 1 for row in rows]
        style: dict[str, Any] = {
            "color": colour(index),
            "markersize": 5,
            "linewidth": 1.4,
        }
        style["marker"] = marker(index) if len(rows) < _FEW else None
        for column, line, width in ((training, "--", 0.8), (validation, "-", 1.6)):
            drawn = [factor * row[column] for row in rows]
            face = "white" if column == training else colour(index)
            style |= {"linewidth": width, "markerfacecolor": face}
            axes.plot(epochs, drawn, line, **style)
            values += drawn
        axes.plot(
            *(best["epoch"] + 1, factor * best[validation]),
            marker="*",
            markersize=11,
            markeredgecolor="black",
            markeredgewidth=0.7,
            color=colour(index),
            zorder=3,
        )
    style_axes(axes, xlabel="epoch", ylabel=name)
    scale_values(axes, [value for value in values if math.isfinite(value)])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if max(len(curve.rows) for curve in runs.values()) == 1:
        axes.set_xlim(0.5, 1.5)


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
        path: PNG or SVG file to write.
    """
    figure = new_figure(7.5, 5.5)
    axes = figure.add_subplot()
    all_macs = [macs / 1e6 for group in points.values() for macs, _ in group]
    handles: list[Any] = []
    for index, (label, group) in enumerate(points.items()):
        x, y = zip(*group, strict=True)
        handles.append(
            axes.scatter(
                [macs / 1e6 for macs in x],
                [100 * error for error in y],
                s=18,
                color=colour(index),
                marker=marker(index),
                label=printable(label),
            )
        )
    best = sorted(min(group, key=lambda point: point[1]) for group in points.values())
    handles += axes.plot(
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
    for macs, labels in _close_together(near):
        _mark_networks(axes, labels, macs)
    costs = [*all_macs, *near.values()]
    axes.set_xlim(0.9 * min(costs), 1.1 * max(costs))
    style_axes(
        axes, xlabel="MACs of an image (millions)", ylabel="top-1 validation error (%)"
    )
    note = "Vertical lines: cost of networks without an error measured on this data"
    legend_below(figure, handles, columns=4, note=note if near else "")
    title(figure, f"{sum(map(len, points.values()))} trials")
    save(figure, path)


def _close_together(marks: Mapping[str, float]) -> list[tuple[float, list[str]]]:
    """Networks by their MACs; those of nearly the same, as twins have, together."""
    found: list[tuple[float, list[str]]] = []
    for label, macs in sorted(marks.items(), key=lambda mark: mark[1]):
        if found and macs < _SAME * found[-1][0]:
            found[-1][1].append(label)
        else:
            found.append((macs, [label]))
    return found


def _mark_networks(axes: Axes, labels: Sequence[str], macs: float) -> None:
    """A vertical line with the names of the networks of this cost beside it."""
    axes.axvline(macs, color="0.5", linestyle="-.", linewidth=1)
    axes.annotate(
        "\n".join(map(printable, labels)),
        (macs, 1),
        (2, -2),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        rotation=90,
        va="top",
        fontsize=7,
        color="0.35",
    )
