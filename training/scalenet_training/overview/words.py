"""Facts of runs as people read them, in tables and on pages."""

from __future__ import annotations

import os
import re
import reprlib
from collections.abc import Sequence
from typing import Any

from scalenet_training.text import printable

NOTHING = "-"
_LONGEST = 48  # characters of a setting or of a fact of the data
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def names(paths: Sequence[str]) -> list[str]:
    """A name for each run: that of its folder or, where two are equal, its path."""
    own = [os.path.basename(os.path.abspath(path)) for path in paths]
    return [
        printable(path if own.count(name) > 1 else name)
        for path, name in zip(paths, own, strict=True)
    ]


def title(name: str) -> str:
    """The name of a fact, in words."""
    told = name.replace("top1", "top-1").replace("top5", "top-5")
    return re.sub("(^|_)val_", r"\1validation_", told).replace("_", " ")


def cell(name: str, value: Any) -> str:
    """The value of a fact: errors in per cent, numbers with few digits."""
    if value is None:
        return NOTHING
    if name.endswith("_error"):
        return f"{value:.2%}"
    if name.endswith("_loss"):
        return f"{value:.4f}"
    if name == "images_per_second":
        return f"{value:.1f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, str):
        text = printable(value)
    else:
        text = f"{value:.6g}" if isinstance(value, float) else reprlib.repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def age(seconds: float) -> str:
    """A time that has passed, in its largest unit."""
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"
