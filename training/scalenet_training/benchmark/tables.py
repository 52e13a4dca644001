"""Tables of measurements, as they are printed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any


def print_rows(rows: Sequence[Any], columns: Mapping[str, tuple[str, str]]) -> None:
    """Prints a line for each row, below the titles.

    Args:
        rows: Objects with the attributes.
        columns: Attribute -> title, and format with a width, as `">10.2f"`.
    """
    widths = [re.match("[<>][+]?[0-9]+", form) for _, form in columns.values()]
    titles = (title for title, _ in columns.values())
    print(
        "".join(
            format(title, width[0].replace("+", "") if width else "")
            for title, width in zip(titles, widths, strict=True)
        )
    )
    for row in rows:
        cells = (format(getattr(row, n), form) for n, (_, form) in columns.items())
        print("".join(cells))
