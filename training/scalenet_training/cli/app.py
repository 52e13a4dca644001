"""The commands by their verbs. Imports none of them until it is called."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NoReturn

from scalenet_training.cli.library import defer_library
from scalenet_training.cli.output import written_output
from scalenet_training.errors import did_you_mean
from scalenet_training.invocation import PROGRAM

_OWN_PACKAGES = ("scalenet_tf", "scalenet_training")
_HELP = {"-h", "--help"}


@dataclasses.dataclass(frozen=True)
class Command:
    """A command, which is in the module `scalenet_training.<room>.command`.

    Its function `main(arguments, program)` runs it; messages show the options of its
    `SETTINGS`, if it has them.

    Attributes:
        summary: What it does, in one line.
        extra: The extra of the package that it needs at least.
        room: The package of its module; by default the verb.
        by_tensorflow: Whether all of it needs Keras to compute by TensorFlow.
        listed: Whether the help lists it. False for what only maintainers use.
    """

    summary: str
    extra: str = "train"
    room: str | None = None
    by_tensorflow: bool = True
    listed: bool = True


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "train": Command("trains a ScaleNet, or a ResNet twin"),
        "evaluate": Command("evaluates a run, a saved model or an export"),
        # Exports are run by runtimes of their own.
        "predict": Command("classifies images", by_tensorflow=False),
        "export": Command("exports a run as a SavedModel, TFLite, ONNX or OpenVINO"),
        "publish": Command("puts a run's network, exports and a card into a folder"),
        "convert": Command("converts a PyTorch checkpoint to Keras weights"),
        "allocate": Command("learns an allocation of neurons from data"),
        "tune": Command("searches channel budgets with KerasTuner", extra="tune"),
        "study": Command(
            "trains several networks with several seeds and reports what came out"
        ),
        # The package `runs` is what runs leave: a library for all rooms.
        "runs": Command(
            "lists runs, and compares two of them",
            room="overview",
            by_tensorflow=False,
        ),
        "report": Command(
            "writes a page of the curves and results of runs", by_tensorflow=False
        ),
        "plot": Command("draws figures of runs and allocations", by_tensorflow=False),
        "benchmark": Command("measures speed, as ratios of interleaved runs"),
        "ship": Command(
            "makes the network of a run weights that come with the package",
            room="shipping",
            listed=False,
        ),
        "doctor": Command(
            "says what is installed here and what will not work", by_tensorflow=False
        ),
    }
)


def module_of(verb: str) -> str:
    """The name of a command's module."""
    return f"scalenet_training.{COMMANDS[verb].room or verb}.command"


@written_output()
def main() -> None:
    """Runs the command that the first word of the command line names."""
    words = sys.argv[1:]
    if not words or words[0] in _HELP:
        print(_help())
    elif words[0] == "--version":
        print(importlib.metadata.version("scalenet_tf"))
    elif words[0] in COMMANDS:
        run_command(words[0], words[1:], f"{PROGRAM} {words[0]}")
    else:
        _fail(_unknown(words[0]))


@written_output()
def run_script(verb: str) -> None:
    """Runs a command that a script in a checkout stands for."""
    run_command(verb, sys.argv[1:], f"{verb}.py")


def run_command(verb: str, arguments: Sequence[str], program: str) -> None:
    """Runs a command.

    Args:
        verb: Its name in `COMMANDS`.
        arguments: The words of the command line after the verb.
        program: How the command is called in its help.
    """
    defer_library()
    from scalenet_tf.backends import BackendError, require_tensorflow

    try:
        if COMMANDS[verb].by_tensorflow and not _HELP & {*arguments}:
            require_tensorflow(program)
        running = importlib.import_module("scalenet_training.cli.running")
        module = importlib.import_module(module_of(verb))
        settings = getattr(module, "SETTINGS", ())
        running.run(lambda: module.main(arguments, program), settings, arguments)
    except BackendError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in _OWN_PACKAGES:
            raise
        _fail(
            f"{PROGRAM} {verb} needs the package {missing}, which is not installed: "
            f"pip install 'scalenet_tf[{COMMANDS[verb].extra}]'."
        )


def _help() -> str:
    width = max(map(len, COMMANDS))
    listed = "\n".join(
        f"  {verb:{width}}  {command.summary}"
        for verb, command in COMMANDS.items()
        if command.listed
    )
    return (
        f"usage: {PROGRAM} COMMAND [OPTIONS]\n\n"
        "ScaleNet (CVPR 2019) for Keras 3 on TensorFlow.\n\n"
        f"commands:\n{listed}\n\n"
        f"{PROGRAM} COMMAND --help lists the options of a command; "
        f"{PROGRAM} --version prints the version."
    )


def _unknown(word: str) -> str:
    known = ", ".join(v for v, command in COMMANDS.items() if command.listed)
    hint = did_you_mean(word, COMMANDS)
    return f"COMMAND must be one of {known}. Received: {word!r}.{hint}"


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
