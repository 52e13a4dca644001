"""What all figures have in common: colours, grid, legends, and how they are saved.

Figures are only saved to files, so that no display is needed. Imports no TensorFlow.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from scalenet_training.errors import UsageError
from scalenet_training.text import printable

# Okabe and Ito's colours, which most colour-blind readers can tell apart; black, for
# lines that are marked otherwise, comes last.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
)
MARKERS = "osD^vPX"  # a second sign, where there are more series than colours
FORMATS = (".png", ".svg")

_DPI = 150
_DECADES = 10.0  # from the largest to the smallest value, for a logarithmic scale


def colour(index: int) -> str:
    """The colour of a series; they repeat after the seventh."""
    return COLOURS[index % len(COLOURS)]


def marker(index: int) -> str:
    """The marker of a series; another for each round of the colours."""
    return MARKERS[index // len(COLOURS) % len(MARKERS)]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, with sides in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str, **settings: Any) -> None:
    """Writes a figure as its path ends: PNG, or SVG, the same bytes every time.

    Args:
        figure: What was drawn.
        path: File to write; ends in one of `FORMATS`.
        settings: More arguments of `Figure.savefig`.
    """
    settings = {"dpi": _DPI, **settings}
    if path.endswith(".svg"):
        settings["metadata"] = {"Date": None}
    with warnings.catch_warnings(), rc_context({"svg.hashsalt": "scalenet"}):
        # Names may be in any script: a box stands for what the font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(path, **settings)


def check_figure_file(option: str, path: str) -> None:
    """Checks that a figure can be written.

    Raises:
        UsageError: The name has another ending, or there is no such folder.
    """
    folder = os.path.dirname(path) or "."
    if not path.endswith(FORMATS) or not os.path.isdir(folder):
        raise UsageError(
            f"{option} must end in {' or '.join(FORMATS)} and be in a folder that "
            f"exists. Received: {path!r}."
        )


def style_axes(axes: Axes, **labels: Any) -> None:
    """Labels, a grid behind what is drawn, and no frame where there is no axis."""
    axes.set(**labels)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend_below(
    figure: Figure, handles: Sequence[Any], columns: int = 2, note: str = ""
) -> None:
    """A legend outside of the axes, where it hides nothing, under a note."""
    legend = figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=max(1, min(columns, len(handles))),
        fontsize="small",
        frameon=False,
        title=note or None,
        title_fontproperties={"size": 8},
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def title(figure: Figure, text: str) -> None:
    """The title of a figure."""
    figure.suptitle(printable(text), fontsize=10).set_parse_math(False)


def scale_values(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic scale where values differ by more than ten times, else from 0.

    What is drawn at the top is not cut off.
    """
    shown = [value for value in values if value == value]  # without NaN
    if shown and min(shown) > 0 and max(shown) / min(shown) > _DECADES:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(0, 1.06 * max(shown, default=1) or 1)
