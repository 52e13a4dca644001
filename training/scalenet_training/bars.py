"""Progress of long work: a bar for people, a line now and then for logs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 30


class Bar(tqdm):
    """A bar on stderr; where that is no terminal, lines that end.

    Takes the arguments of `tqdm`. The bar goes when the work is done. A log gets its
    first line after half a minute, so that short work leaves none.
    """

    def __init__(self, *arguments: Any, **settings: Any):
        self._people = (settings.get("file") or sys.stderr).isatty()
        settings = {"leave": False, **settings}
        if not self._people:
            settings |= {
                "mininterval": _SECONDS_BETWEEN_LINES,
                "maxinterval": _SECONDS_BETWEEN_LINES,
                "delay": _SECONDS_BETWEEN_LINES,
                "ascii": True,
                "ncols": 80,
            }
        super().__init__(*arguments, **settings)

    @staticmethod
    def status_printer(file: TextIO) -> Callable[[str], None]:
        """Gives what writes the bar's text, where it was, or as a line."""
        if file.isatty():
            return tqdm.status_printer(file)

        def print_line(text: str) -> None:
            if text.strip():
                print(text.strip(), file=file, flush=True)

        return print_line
