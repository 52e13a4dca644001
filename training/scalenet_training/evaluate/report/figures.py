"""The pictures of a report, as PNG files."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from scalenet_training.drawing import colour, new_figure, save
from scalenet_training.evaluate.report.calibration import Calibration, Reliability
from scalenet_training.evaluate.report.confusion import rates
from scalenet_training.text import printable

_MOST_NUMBERS = 16  # classes whose counts are written into the cells
_MOST_LABELS = 110  # classes whose names are written at the axes
_COLUMNS = 4  # of pictures
_LONGEST = 24  # characters of a name in a figure
_EVIDENCE = (255, 40, 0)  # the colour of it


class Picture(NamedTuple):
    """A wrong answer, to be shown.

    Attributes:
        example: Its name.
        pixels: `(size, size, 3)` uint8.
        true: Name of the given class.
        predicted: Name of the predicted class.
        probability: Of the predicted class.
        evidence: `(size, size)` from 0 to 1; None where it is not known.
    """

    example: str
    pixels: np.ndarray
    true: str
    predicted: str
    probability: float
    evidence: np.ndarray | None = None


def draw_confusion(
    counts: np.ndarray, order: np.ndarray, names: Sequence[str], path: str
) -> None:
    """Draws the matrix of confusions: right answers in grey, wrong ones in red.

    Args:
        counts: Examples by given class (rows) and predicted class (columns).
        order: Of the classes.
        names: Of all classes.
        path: PNG file to write.
    """
    counts = counts[np.ix_(order, order)]
    share, number = rates(counts), len(order)
    side = float(np.clip(2.5 + 0.14 * number, 5, 16))
    with _saved(side + 0.8, side, path) as figure:
        axes = figure.add_subplot()
        diagonal = np.eye(number, dtype=bool)
        for hidden, colours in ((~diagonal, "Greys"), (diagonal, "Reds")):
            norm = PowerNorm(0.5, 0, share[~hidden].max(initial=0) or 1)
            part = np.ma.masked_array(share, hidden | (share == 0))
            drawn = axes.imshow(part, cmap=colours, norm=norm, interpolation="nearest")
        bar = figure.colorbar(drawn, ax=axes, fraction=0.03, pad=0.02)
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1))
        bar.ax.tick_params(labelsize=_size(side))
        told = "share of the examples of a class, where it is wrong"
        bar.set_label(told, fontsize=_size(side))
        axes.set_xlabel("predicted class", fontsize=_size(side))
        axes.set_ylabel("true class", fontsize=_size(side))
        _label_classes(axes, [_short(names[index]) for index in order], side)
        if number <= _MOST_NUMBERS:
            _write_counts(axes, counts, share)


def _size(width: float) -> float:
    """Size of a font, in points: 10 to 12 pixels high on a page of 1,030 pixels.

    Args:
        width: Of the figure, in inches.
    """
    return max(10.0, 1.1 * width)


def _label_classes(axes: Axes, labels: Sequence[str], side: float) -> None:
    if len(labels) > _MOST_LABELS:
        axes.set(xticks=[], yticks=[])
        return
    size = min(10.0, 0.75 * 72 * (side - 2) / len(labels))
    places = range(len(labels))
    turned = 90 if max(map(len, labels)) > 2 else 0
    axes.set_xticks(places, labels, fontsize=size, rotation=turned, parse_math=False)
    axes.set_yticks(places, labels, fontsize=size, parse_math=False)


def _write_counts(axes: Axes, counts: np.ndarray, share: np.ndarray) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if row == column and share[row, column] > 0.3 else "black"
            text = axes.text(column, row, f"{count:,}", fontsize=8, color=colour)
            text.set(ha="center", va="center")


def draw_calibration(calibration: Calibration, path: str) -> None:
    """Draws reliability diagrams, and how many examples are in each bin.

    Args:
        calibration: Before and, where there is one, at the temperature.
        path: PNG file to write.
    """
    shown = [("as the model gives them", calibration.before)]
    if calibration.after is not None:
        title = f"at temperature {calibration.temperature:.3f}"
        shown.append((title, calibration.after))
    with _saved(4.6 * len(shown), 5.4, path) as figure:
        heights = {"height_ratios": [3, 1]}
        grid = figure.subplots(2, len(shown), squeeze=False, gridspec_kw=heights)
        for column, (title, one) in enumerate(shown):
            upper, lower = grid[:, column]
            _draw_reliability(upper, one)
            upper.set_title(f"Probabilities {title}: ECE {one.ece:.2%}", fontsize=10)
            _bars(lower, one.counts / one.counts.sum(), color=colour(0))
            lower.set(xlim=(0, 1), xlabel="probability of the predicted class")
            lower.yaxis.set_major_formatter(PercentFormatter(1))
        grid[0, 0].set_ylabel("right answers")
        grid[1, 0].set_ylabel("examples")


def _draw_reliability(axes: Axes, one: Reliability) -> None:
    filled = one.counts > 0
    _bars(
        axes, np.where(filled, one.accuracy, 0), color=colour(0), label="right answers"
    )
    gaps = np.where(filled, one.confidence - one.accuracy, 0)
    style = {"color": colour(1), "alpha": 0.35, "hatch": "//", "edgecolor": colour(1)}
    _bars(axes, gaps, bottom=one.accuracy, label="gap to the probability", **style)
    axes.plot([0, 1], [0, 1], "k--", linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1), xticklabels=[])
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(loc="upper left", fontsize="small")


def _bars(axes: Axes, heights: np.ndarray, **style: Any) -> None:
    width = 1 / len(heights)
    places = width * np.arange(len(heights))
    axes.bar(places, heights, width, align="edge", linewidth=0.5, **style)


def draw_errors(pictures: Sequence[Picture], path: str) -> None:
    """Draws a contact sheet, each picture with where its evidence is, if known.

    Args:
        pictures: The worst errors, one or more.
        path: PNG file to write.
    """
    columns = min(_COLUMNS, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    side = 1.9  # in inches, as all that follows
    wide = side if pictures[0].evidence is None else 2.03 * side
    step = max(wide, 2.1) + 0.2
    size = 0.9 * _size(step * columns)
    text = 4 * size / 72  # three lines, and what is between them
    with _saved(step * columns, (side + text + 0.1) * rows, path) as figure:
        axes = figure.add_subplot()  # one, since each takes long to lay out
        for number, picture in enumerate(pictures):
            left = step * (number % columns)
            top = (side + text + 0.1) * (number // columns) + text
            place = (left, left + wide, top + side, top)
            axes.imshow(_shown(picture), extent=place, interpolation="nearest")
            axes.text(
                left, top - 0.04, _told(picture), fontsize=size, va="bottom"
            ).set_parse_math(False)
        axes.set(xlim=(0, step * columns), ylim=((side + text + 0.1) * rows, 0))
        axes.set_axis_off()


def _told(picture: Picture) -> str:
    return (
        f"true: {_short(picture.true)}\npredicted: {_short(picture.predicted)}\n"
        f"probability: {picture.probability:.1%}"
    )


def _shown(picture: Picture) -> np.ndarray:
    """The picture and, to the right of a gap, its evidence."""
    pixels = picture.pixels
    if picture.evidence is None:
        return pixels
    gap = np.full((len(pixels), max(1, round(0.03 * len(pixels))), 3), 255, np.uint8)
    return np.hstack([pixels, gap, _overlaid(pixels, picture.evidence)])


def _overlaid(pixels: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """The picture in grey, and red where the evidence is."""
    grey = pixels.mean(-1, keepdims=True)
    share = 0.75 * evidence[..., None] ** 1.5
    return ((1 - share) * grey + share * np.array(_EVIDENCE)).astype(np.uint8)


def _short(name: str) -> str:
    text = printable(name)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


@contextlib.contextmanager
def _saved(width: float, height: float, path: str) -> Iterator[Figure]:
    """A figure that is saved when the block ends; its sides are in inches."""
    figure = new_figure(width, height)
    yield figure
    save(figure, path, bbox_inches="tight")
