"""What the commands share: options from a dataclass, messages, exit codes."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import tyro

from scalenet_training.errors import RunError, UsageError
from scalenet_training.train.config import TrainConfig
from scalenet_training.train.presets import PRESETS

T = TypeVar("T")


def parse(kind: type[T], description: str, arguments: Sequence[str], program: str) -> T:
    """Reads a command line into a dataclass; exits with 2 where it does not fit."""
    with usage_errors_exit():
        return tyro.cli(kind, description=description, args=arguments, prog=program)


def parse_with_preset(
    wrap: Callable[[TrainConfig], T],
    description: str,
    arguments: Sequence[str],
    program: str,
) -> T:
    """Reads the command line of a training: the preset chooses the other defaults.

    Args:
        wrap: Makes the settings of the command of those of a preset.
        description: Of the command.
        arguments: The words of the command line after the command.
        program: How the command is called in its help.
    """
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--preset", default="digits")
    name = finder.parse_known_args(arguments)[0].preset
    # An unknown preset is left for tyro, which says what is allowed.
    default = wrap(PRESETS.get(name, PRESETS["digits"]).config)
    presets = "\n".join(
        f"  {key}: `{preset.command}` ({preset.expectation})"
        for key, preset in PRESETS.items()
    )
    with usage_errors_exit():
        return tyro.cli(
            type(default),
            default=default,
            description=f"{description}\n\nPresets:\n{presets}",
            args=arguments,
            prog=program,
        )


def run(command: Callable[[], None]) -> None:
    """Runs a command; its known errors become a line on stderr and an exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with usage_errors_exit():
        try:
            command()
        except RunError as error:
            _exit(str(error), error.exit_code)
        except KeyboardInterrupt:
            _exit("interrupted", 130)


@contextlib.contextmanager
def usage_errors_exit() -> Iterator[None]:
    """Ends the process with exit code 2 on UsageError and unfit settings."""
    try:
        yield
    except UsageError as error:
        _exit(str(error), 2)


def warn(message: str | None) -> None:
    """Says on stderr what a command that succeeded should not be silent about."""
    if message is not None:
        print(f"warning: {message}", file=sys.stderr)


def _exit(message: str, code: int) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
