"""What all settings have in common: groups of options, and bounds beside the fields.

batch_size: Annotated[int, POSITIVE] = 32
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args, get_origin
from typing import get_type_hints as type_hints

from scalenet_training.errors import SettingError


@dataclasses.dataclass(frozen=True)
class Bound:
    """Which values a field may have; `None` always passes.

    Attributes:
        rule: The words about it in an error.
        holds: Whether a value is allowed.
    """

    rule: str
    holds: Callable[[Any], bool]


POSITIVE = Bound("must be more than 0", lambda value: value > 0)
EVEN = Bound(
    "must be an even number of 2 or more",
    lambda value: value >= 2 and value % 2 == 0,
)
NOT_NEGATIVE = Bound("must be 0 or more", lambda value: value >= 0)
# Those of NumPy's generators that have 32 bits, which Keras uses.
SEED_NUMBER = Bound("must be from 0 to 4294967295", lambda value: 0 <= value < 2**32)
FRACTION = Bound("must be from 0 to below 1", lambda value: 0 <= value < 1)
PART = Bound("must be from 0 to 1", lambda value: 0 <= value <= 1)
# That of `scalenet_tf.architectures.MAX_SIDE`, which needs TensorFlow.
MAX_SIDE = 4096
SIDE = Bound(
    f"must be a number of pixels from 1 to {MAX_SIDE}",
    lambda value: 1 <= value <= MAX_SIDE,
)
POSITIVE_NUMBERS = Bound(
    "must be positive numbers, one or more",
    lambda values: bool(values) and min(values) > 0,
)
IN_A_FOLDER = Bound(
    "must be in a folder that exists",
    lambda path: os.path.isdir(os.path.dirname(path) or "."),
)
ASCENDING_FRACTIONS = Bound(
    "must be ascending, between 0 and 1",
    lambda values: list(values) == sorted(values) and all(0 < v < 1 for v in values),
)


def suffix(*allowed: str) -> Bound:
    """The bound of a file's name by its ending."""
    rule = f"must end in {' or '.join(allowed)}"
    return Bound(rule, lambda path: path.endswith(allowed))


# Image files, which are read whatever their names are.
_ANY_NAMES = frozenset({"dataset", "images", "calibration_dir"})

T = TypeVar("T")


class OptionGroup:
    """Base of the dataclasses whose fields `--help` lists under one heading.

    The settings of a command inherit from several groups, and are flat themselves. The
    heading of `DataOptions` is "data options", with its docstring below.

    Attributes:
        resumable: Whether a run may go on with other values: they say where and how
            long it computes, not what.
    """

    resumable: ClassVar[bool] = False

    @classmethod
    def heading(cls) -> str:
        """The words before "options"."""
        return cls.__name__.removesuffix("Options").lower()

    def check_together(self) -> None:
        """Checks fields of the group against each other.

        Raises:
            SettingError: They exclude each other; the message names them.
        """


class Settings:
    """Base of the dataclasses that hold a command's settings.

    Raises:
        SettingError: A value is out of its bounds or none of its choices; or a number,
            also one in a tuple, is NaN or infinite, or a text is not UTF-8, which
            TensorFlow cannot write to; or values exclude each other.
    """

    def __post_init__(self) -> None:
        kind: type = type(self)
        for name, bounds in _bounds_of(kind).items():
            value = getattr(self, name)
            # Comparisons with NaN are false, and infinity is more than any bound.
            if not all(map(math.isfinite, _parts(float, value))):
                raise SettingError.of(name, "must be finite", value)
            if name not in _ANY_NAMES and not all(map(_is_text, _parts(str, value))):
                raise SettingError.of(name, "must be text in UTF-8", value)
            for bound in bounds if value is not None else ():
                if not bound.holds(value):
                    raise SettingError.of(name, bound.rule, value)
        for group in groups_of(kind):
            if isinstance(self, group):
                group.check_together(self)


def groups_of(kind: type) -> list[type[OptionGroup]]:
    """The groups of options that settings inherit from, in the order of `--help`."""
    return [group for group in reversed(kind.__mro__) if OptionGroup in group.__bases__]


def fields_of(kind: type) -> list[str]:
    """The names of a dataclass' fields."""
    return [field.name for field in dataclasses.fields(kind)]


def resumable_fields(kind: type) -> set[str]:
    """The fields that may differ between a run and its continuation."""
    groups = (group for group in groups_of(kind) if group.resumable)
    return {name for group in groups for name in fields_of(group)}


@functools.cache
def hints_of(kind: type) -> Mapping[str, Any]:
    """The type of each field of settings, with what is annotated."""
    hints = type_hints(kind, include_extras=True)
    return {name: hints[name] for name in fields_of(kind)}


@functools.cache
def _bounds_of(kind: type) -> Mapping[str, Sequence[Bound]]:
    """The bounds of each field of settings."""
    return {name: tuple(_bounds(hint)) for name, hint in hints_of(kind).items()}


def _bounds(hint: Any) -> Iterator[Bound]:
    """The bounds of a type hint, those of its choices among them."""
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        yield Bound(f"must be one of {choices}", lambda value: value in choices)
    elif get_origin(hint) is Annotated:
        yield from (part for part in get_args(hint) if isinstance(part, Bound))
        yield from _bounds(get_args(hint)[0])


def _parts(kind: type[T], value: Any) -> Iterator[T]:
    """The values of a type in a setting: itself, or those in its tuples."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _parts(kind, part)


def _is_text(value: str) -> bool:
    """Whether a text is one without the bytes that Python keeps as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in value)
