"""Settings from files that people or runs wrote: TOML, and the types of values."""

from __future__ import annotations

import os
import tomllib
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

from scalenet_tf.files import read_bounded

_MAX_BYTES = 2**20
_IN_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
}


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is too large, not UTF-8, or no TOML.
    """
    text = _text(path)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _text(path: str | os.PathLike[str]) -> str:
    try:
        return read_bounded(path, _MAX_BYTES).decode(
            "utf-8-sig"
        )  # as editors of Windows write it
    except UnicodeDecodeError as error:
        raise ValueError(f"it must be text in UTF-8: {error}") from None


def typed(value: Any, hint: Any) -> Any:
    """A value of a file as a setting of this type.

    Lists become tuples, and a whole number becomes a float where a float is wanted.

    Raises:
        ValueError: It is of another type, or too large for it; the message says what
            is wanted.
    """
    if isinstance(value, list):
        value = tuple(value)
    try:
        # To Python, true is a number.
        if isinstance(value, bool) and not _takes(hint, bool):
            raise ValueError("it is true or false")
        check_type(value, hint)
    except ValueError as error:
        wanted = in_words(hint)
        reason = f"must be {wanted}" if wanted else f"has a wrong type: {error}"
        shown = list(value) if isinstance(value, tuple) else value
        raise ValueError(f"{reason}. Received: {shown!r}") from error
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or _takes(hint, int):
        return value
    try:
        return float(value)
    except OverflowError:
        raise ValueError("is too large") from None


def check_type(value: Any, hint: Any) -> None:
    """Raises ValueError where a value is not of a type."""
    if _is_plainly(value, hint):
        return
    import typeguard

    every = typeguard.CollectionCheckStrategy.ALL_ITEMS
    try:
        typeguard.check_type(value, hint, collection_check_strategy=every)
    except typeguard.TypeCheckError as error:
        raise ValueError(str(error)) from error


def _is_plainly(value: Any, hint: Any) -> bool:
    """Whether a value has just this type; typeguard takes much longer to say so."""
    if isinstance(hint, type):  # list[str] is none
        return type(value) is hint
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_is_plainly(value, part) for part in parts)
    if origin is Literal:
        return type(value) is str and value in parts
    return origin is list is type(value) and {*map(type, value)} <= {*parts}


def in_words(hint: Any) -> str:
    """What a setting of this type may be; "" for types without words."""
    if get_origin(hint) is Literal:
        return f"one of {get_args(hint)}"
    if get_origin(hint) is tuple:
        kinds = {in_words(part) for part in get_args(hint) if part is not ...}
        return f"a list, each part {kinds.pop()}" if len(kinds) == 1 else "a list"
    if hint in _IN_WORDS:
        return _IN_WORDS[hint]
    parts = _alternatives(hint)
    if parts == (hint,):
        return ""
    return " or ".join(in_words(part) for part in parts if part is not type(None))


def _takes(hint: Any, kind: type) -> bool:
    return kind in _alternatives(hint) or hint is Any


def _alternatives(hint: Any) -> tuple[Any, ...]:
    union = get_origin(hint) in (Union, types.UnionType)
    return get_args(hint) if union else (hint,)


def without_hyphens(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table with names of settings for those of options: `batch-size`.

    Raises:
        ValueError: A setting is there under both names.
    """
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name in found:
            raise ValueError(f"{name!r} is there twice, once with a hyphen")
        found[name] = value
    return found
