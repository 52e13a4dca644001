"""From the settings of a command to its options, and back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_type_hints

import tyro

from scalenet_training.errors import UsageError, usage_errors
from scalenet_training.settings.base import OptionGroup, Settings, fields_of, groups_of
from scalenet_training.settings.inputs import check_inputs

T = TypeVar("T", bound=Settings)

# What options are called elsewhere -> the setting.
_ELSEWHERE = {
    "lr": "learning_rate",
    "wd": "weight_decay",
    "batch": "batch_size",
    "bs": "batch_size",
    "num_epochs": "epochs",
    "opt": "optimizer",
    "drop_path": "stochastic_depth",
    "patience": "early_stopping",
    "arch": "model",
    "net": "model",
    "network": "model",
    "data": "dataset",
    "data_path": "dataset",
    "img_size": "image_size",
    "imgsz": "image_size",
    "size": "image_size",
    "pretrained": "weights",
    "checkpoint": "weights",
    "amp": "mixed_precision",
    "devices": "strategy",
    "gpus": "strategy",
    "output_dir": "workdir",
    "resume": "workdir",
    "topk": "top_k",
    "csv": "output",
    "out": "output",
}


def parse(
    kind: type[T],
    description: str | None,
    arguments: Sequence[str],
    program: str,
    default: T | None = None,
    needless: Callable[[T], Collection[str]] = lambda _: (),
) -> T:
    """Reads a command line into settings; ends the process where it does not fit.

    Args:
        kind: The settings. The groups that they inherit from become the headings of
            the help, those of settings inside them too. Settings that have fields
            outside of groups have one heading.
        description: The text above the options in the help.
        arguments: The words of the command line after the command.
        program: How the command is called in its help.
        default: Settings whose values hold where an option is not given.
        needless: The fields of the settings whose files are not needed any more.

    Raises:
        UsageError: A value is not allowed.
    """
    # tyro makes a heading of each dataclass inside another one.
    parts = [
        (name, group, _part(group, owner))
        for name, group, owner in _groups(kind, default)
    ]
    nested = dataclasses.make_dataclass(kind.__name__, parts) if parts else kind
    # The checks of the settings are made afterwards: tyro has other words for them.
    unchecked = type(
        kind.__name__,
        (nested,),
        {"__post_init__": lambda self: None, "__doc__": kind.__doc__},
    )
    read: object = tyro.cli(
        unchecked,
        description=description,
        args=arguments,
        prog=program,
        # Comments beside the fields are no help; to look for them takes time.
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.HelptextFromCommentsOff),
    )
    with usage_errors():
        settings = _settings(kind, vars(read))
    check_inputs(settings, needless=needless(settings))
    return settings


def check_options(arguments: Sequence[str], *kinds: type[Settings]) -> None:
    """Names the option for one that goes by this name in other programs.

    Of mistyped options tyro knows the nearest ones itself.

    Raises:
        UsageError: There is such an option.
    """
    flags = {name: flag for kind in kinds for name, flag in _flags(kind)}
    for word in arguments:
        typed, _, _ = word.partition("=")
        field = _ELSEWHERE.get(typed.removeprefix("--").replace("-", "_"))
        if typed.startswith("--") and typed not in flags.values() and field in flags:
            raise UsageError(
                f"there is no option {typed} here: it is {flags[field]}. Received: "
                f"{word!r}."
            )


def with_flags(message: str, *kinds: type[Settings]) -> str:
    """A message about settings, with options in the place of fields in backticks."""
    flags = {name: flag for kind in kinds for name, flag in _flags(kind)}
    return re.sub(r"`(\w+)`", lambda found: flags.get(found[1], found[0]), message)


def _groups(
    kind: type[Settings], default: Settings | None
) -> Iterator[tuple[str, type, Settings | None]]:
    """Heading, group, and the settings that have its defaults."""
    for name, inner in _inner(kind):
        yield from _groups(inner, getattr(default, name, None))
    for group in _headed(kind):
        yield group.heading(), group, default


def _headed(kind: type[Settings]) -> list[type[OptionGroup]]:
    """The groups of settings; none where there are fields outside of them."""
    groups = groups_of(kind)
    listed = {name for group in groups for name in fields_of(group)}
    listed |= {name for name, _ in _inner(kind)}
    return groups if listed == {*fields_of(kind)} else []


def _part(group: type, owner: Settings | None) -> Any:
    if owner is None:
        return dataclasses.field()
    values = {name: getattr(owner, name) for name in fields_of(group)}
    return dataclasses.field(default=group(**values))


def _settings(kind: type[T], read: Mapping[str, Any]) -> T:
    """The settings that were read, by headings or else flat."""
    groups = _headed(kind)
    if not groups:
        return kind(**read)
    values = {name: _settings(inner, read) for name, inner in _inner(kind)}
    for group in groups:
        values |= vars(read[group.heading()])
    return kind(**values)


def _inner(kind: type[Settings]) -> Iterator[tuple[str, type[Settings]]]:
    """The fields of settings that hold settings themselves."""
    for name, hint in get_type_hints(kind).items():
        if isinstance(hint, type) and issubclass(hint, Settings):
            yield name, hint


def _flags(kind: type[Settings]) -> Iterator[tuple[str, str]]:
    """Field -> how its option is typed, `--batch-size`, or shown, `RUN-OR-MODEL`."""
    for _, inner in _inner(kind):
        yield from _flags(inner)
    hints = get_type_hints(kind, include_extras=True)
    for name in fields_of(kind):
        words = name.replace("_", "-")
        positional = tyro.conf.Positional in getattr(hints[name], "__metadata__", ())
        yield name, words.upper() if positional else f"--{words}"
