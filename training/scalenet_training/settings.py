"""What all settings of commands have in common. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any


class Settings:
    """Base of the dataclasses that hold a command's settings.

    Comparisons with NaN are false, and infinity is more than any bound, so that
    neither is left to the checks of the single fields.

    Raises:
        ValueError: A number, also one in a tuple, is NaN or infinite.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not all(map(math.isfinite, _floats(value))):
                raise ValueError(
                    f"--{field.name.replace('_', '-')} must be finite. Received: "
                    f"{value!r}."
                )


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _floats(part)
