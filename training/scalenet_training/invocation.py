"""How the command line was typed, and how another command is typed in the same way."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

PROGRAM = "scalenet"


def typed() -> list[str]:
    """The words of the command line of this process, to be typed again."""
    return [*_prefix(sys.argv[0]), *sys.argv[1:]]


def typed_as(verb: str, options: Sequence[str]) -> list[str]:
    """The words of another command, called as this process was.

    `scalenet VERB` where this process was called so, else `python training/VERB.py` in
    the folder of the script that runs.
    """
    program = sys.argv[0]
    if _is_installed(program):
        return [PROGRAM, verb, *options]
    folder = os.path.dirname(program) if program.endswith(".py") else "training"
    return ["python", os.path.join(folder, f"{verb}.py"), *options]


def _prefix(program: str) -> list[str]:
    return [PROGRAM] if _is_installed(program) else ["python", program]


def _is_installed(program: str) -> bool:
    name, suffix = os.path.splitext(os.path.basename(program))
    return name == PROGRAM and suffix in ("", ".exe")
