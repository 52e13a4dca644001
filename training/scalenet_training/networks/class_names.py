"""Names of classes: read from a file, and compared with those of a dataset."""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence

from scalenet_tf.files import read_bounded
from scalenet_training.errors import SettingError


def read_class_names(path: str) -> list[str]:
    """The lines of a text file: the name of a class each.

    Raises:
        SettingError: It cannot be read as UTF-8 text, or a name is empty or not the
            only one of its kind.
    """
    try:
        text = read_bounded(path).decode("utf-8-sig")  # a mark of Windows' programs
    except (OSError, ValueError) as error:
        raise SettingError(f"`class_names` {path!r} cannot be read: {error}") from error
    names = re.split("\r\n|\n|\r", text)
    if not names[-1]:  # after the end of the last line
        names.pop()
    if "" in names:
        raise SettingError(
            f"`class_names` must have a name in each line. Received: {path!r}, whose "
            f"line {names.index('') + 1} is empty."
        )
    for name, times in collections.Counter(names).items():
        if times > 1:
            raise SettingError(
                "`class_names` must be names that differ. "
                f"Received: {path!r} with {name!r} {times} times."
            )
    return names


def check_number(
    classes: int, names: Sequence[str], given: str, setting: str = "dataset"
) -> None:
    """Raises SettingError where other data have not a model's number of classes.

    Args:
        classes: Of the model.
        names: Of the other data's classes, or another model's.
        given: What has these, as it was named.
        setting: That names it.
    """
    if classes != len(names):
        raise SettingError(
            f"`{setting}` must have the model's {classes} classes. "
            f"Received: {given!r} with {len(names)}."
        )


def check_same(own: Sequence[str], names: Sequence[str], dataset: str) -> None:
    """Raises SettingError where the data of a run have other classes than it had.

    Another number of classes is found where the network is known, too.
    """
    if len(own) == len(names) and (pair := first_difference(own, names)):
        raise SettingError(
            f"`dataset` must have the classes of the run, such as {pair[0]!r}. "
            f"Received: {dataset!r} with {pair[1]!r} in its place."
        )


def check_order(
    own: Sequence[str], names: Sequence[str], given: str, setting: str = "dataset"
) -> None:
    """Raises SettingError where other data have a model's classes in another order.

    Arguments as for `check_number`.
    """
    pair = first_difference(own, names)
    if pair and sorted(own) == sorted(names):
        raise SettingError(
            f"`{setting}` must have the model's classes in the same order. Received: "
            f"{given!r} with {pair[1]!r} in the place of {pair[0]!r}."
        )


def difference_note(own: Sequence[str], names: Sequence[str]) -> list[str]:
    """What to say where other data have other names for as many classes."""
    pair = first_difference(own, names)
    if pair is None or len(own) != len(names):
        return []
    return [
        f"classes are compared by their numbers: the model's {pair[0]!r} with the "
        f"dataset's {pair[1]!r}, and so on"
    ]


def first_difference(
    own: Sequence[str], names: Sequence[str]
) -> tuple[str, str] | None:
    """The first two names that differ, if any do."""
    pairs = zip(own, names, strict=False)
    return next((pair for pair in pairs if pair[0] != pair[1]), None)
