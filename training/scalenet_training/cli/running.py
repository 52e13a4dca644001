"""What the commands share: reading options, messages, exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from scalenet_training.cli.options import check_options, parse, with_flags
from scalenet_training.cli.patience import signs_of_life
from scalenet_training.cli.quiet import silence_tensorflow
from scalenet_training.errors import RunError, UsageError
from scalenet_training.settings.base import Settings
from scalenet_training.text import printable

__all__ = ["parse", "run", "warn"]

_MOST = 2000  # characters of the beginning and of the end of a message


def run(
    command: Callable[[], None],
    settings: Sequence[type[Settings]] = (),
    arguments: Sequence[str] = (),
) -> None:
    """Runs a command; its known errors become one line on stderr and an exit code.

    Args:
        command: What to run.
        settings: The settings of the command: where a message names their fields in
            backticks, it is shown with their options.
        arguments: The words of the command line after the command.
    """
    silence_tensorflow()
    try:
        check_options(arguments, *settings)
        with signs_of_life():
            command()
    except (UsageError, RunError) as error:
        message = str(error)
        code = error.exit_code if isinstance(error, RunError) else 2
        _exit(with_flags(message, *settings), code)
    except KeyboardInterrupt:
        _exit("interrupted", 130)


def warn(message: str | None) -> None:
    """Says on stderr what a command that succeeded should not be silent about."""
    if message is not None:
        _say(f"warning: {message}")


def _exit(message: str, code: int) -> NoReturn:
    _say(f"error: {message}")
    sys.exit(code)


def _say(message: str) -> None:
    """Prints a message, with names and values from files in it, and not too many."""
    if len(message) > 2 * _MOST:
        message = f"{message[:_MOST]} [...] {message[-_MOST:]}"
    lines = map(printable, message.split("\n"))
    print("\n".join(lines), file=sys.stderr)
