"""A page and its parts, as HTML.

What others have named (classes, files, folders) passes `text`, and nothing else does
what comes into the page.
"""

from __future__ import annotations

import base64
import html
import importlib.resources
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scalenet_training.text import printable


def render(
    title: str, facts: str, figures: Mapping[str, str], sections: Iterable[str]
) -> str:
    """The page.

    Args:
        title: Its heading.
        facts: A line below.
        figures: Name -> number, which are shown large.
        sections: Parts, as the functions below give them.
    """
    template = importlib.resources.files(__package__).joinpath("page.html")
    tiles = (
        f"<div><dt>{text(name)}</dt><dd>{text(number)}</dd></div>"
        for name, number in figures.items()
    )
    return string.Template(template.read_text(encoding="utf-8")).substitute(
        title=text(title),
        facts=text(facts),
        figures="\n".join(tiles),
        sections="\n".join(sections),
    )


def heading(words: str) -> str:
    """The heading of a section."""
    return f"<h2>{text(words)}</h2>"


def paragraph(words: str) -> str:
    """A paragraph."""
    return f"<p>{text(words)}</p>"


def table(
    header: Sequence[str], rows: Sequence[Sequence[Any]], right: int | None = None
) -> str:
    """A table; None is a dash.

    Args:
        header: Titles of the columns.
        rows: Cells: texts and numbers.
        right: The first of the columns that are set to the right, beside those that
            have numbers in them.
    """
    numeric = [
        (right is not None and place >= right)
        or any(isinstance(cell, int | float) for cell in column)
        for place, column in enumerate(zip(*rows, strict=True))
    ]
    words = [name.replace("_", " ") for name in header]
    lines = [_row("th", words, numeric), *(_row("td", row, numeric) for row in rows)]
    return f'<div class="table" tabindex="0"><table>\n{"".join(lines)}</table></div>'


def _row(tag: str, cells: Sequence[Any], numeric: Sequence[bool]) -> str:
    parts = (
        f"<{tag}{' class=number' if right else ''}>{text(_cell(cell))}</{tag}>"
        for cell, right in zip(cells, numeric, strict=True)
    )
    return f"<tr>{''.join(parts)}</tr>\n"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def image(path: str, caption: str) -> str:
    """A PNG file, which the page carries."""
    with open(path, "rb") as file:
        data = base64.b64encode(file.read()).decode("ascii")
    # What is wider than the screen is moved, by keys too.
    return (
        f'<figure><div class="picture" tabindex="0">'
        f'<img src="data:image/png;base64,{data}" alt="{text(caption)}"></div>'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )


def text(words: str) -> str:
    """Any text, as HTML."""
    return html.escape(printable(words))
