"""Arguments that a function does not have, answered by the one that is meant."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

# What other packages call it -> what Keras and this package call it.
_ELSEWHERE = {
    "num_classes": "classes",
    "n_classes": "classes",
    "nb_classes": "classes",
    "pretrained": "weights",
    "in_chans": "input_shape",
    "in_channels": "input_shape",
    "img_size": "input_shape",
    "image_size": "input_shape",
    "global_pool": "pooling",
    "activation": "classifier_activation",
    "sync_bn": "synchronized",
}


def explained(
    function: Callable[_Arguments, _Result],
) -> Callable[_Arguments, _Result]:
    """The same function, whose TypeError for an unknown argument says what is meant."""
    known = [name for name in inspect.signature(function).parameters if name != "self"]

    @functools.wraps(function)
    def checked(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        for name in kwargs:
            if name not in known:
                raise TypeError(
                    f"{function.__qualname__.removesuffix('.__init__')} has no "
                    f"argument `{name}`.{_meant(name, known)} Its arguments: "
                    f"{', '.join(known)}."
                )
        return function(*args, **kwargs)

    return checked


def _meant(name: str, known: list[str]) -> str:
    if _ELSEWHERE.get(name) in known:
        return f" It is `{_ELSEWHERE[name]}` here."
    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean `{near[0]}`?" if near else ""
