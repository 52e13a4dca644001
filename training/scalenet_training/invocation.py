"""How the command line was typed, and how another command is typed in the same way."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

PROGRAM = "scalenet"
_PACKAGE = "scalenet_training"


def typed() -> list[str]:
    """The words of the command line of this process, to be typed again."""
    return [*_prefix(sys.argv[0]), *sys.argv[1:]]


def typed_as(verb: str, options: Sequence[str]) -> list[str]:
    """The words of another command, called as this process was.

    `scalenet VERB` or `python -m scalenet_training VERB` where this process was called
    so, else `python training/VERB.py` in the folder of the script that runs.
    """
    program = sys.argv[0]
    prefix = _prefix(program)
    if prefix[-1] != program:
        return [*prefix, verb, *options]
    folder = os.path.dirname(program) if program.endswith(".py") else "training"
    return ["python", os.path.join(folder, f"{verb}.py"), *options]


def as_word(path: str) -> str:
    """A path as a word of a command, which would take a leading dash for an option."""
    return os.path.join(os.curdir, path) if path.startswith("-") else path


def process_of(verb: str, options: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a process that runs a command of this package.

    It imports what this process does, wherever that came from.
    """
    places = os.pathsep.join(place for place in sys.path if place)
    command = [sys.executable, "-m", _PACKAGE, verb, *options]
    return command, {**os.environ, "PYTHONPATH": places}


def _prefix(program: str) -> list[str]:
    folder, name = os.path.split(program)
    if os.path.splitext(name)[0] == PROGRAM:
        return [PROGRAM]
    if (os.path.basename(folder), name) == (_PACKAGE, "__main__.py"):
        return ["python", "-m", _PACKAGE]
    return ["python", program]
