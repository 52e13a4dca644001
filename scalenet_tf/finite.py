"""NaN and infinity in the weights and outputs of networks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np


def first_not_finite(variables: Iterable[keras.Variable]) -> str | None:
    """Names the first variable that holds NaN or infinity, and what it holds.

    Args:
        variables: Of a model or an optimizer; those of whole numbers are passed over.

    Returns:
        Such as `"2 of the 64 numbers of 'stage1_block1/kernel' are NaN"`; `None`
        where all numbers are finite.
    """
    for variable in variables:
        if not keras.backend.is_float_dtype(variable.dtype):
            continue
        values = keras.ops.convert_to_numpy(variable.value)
        found = describe_not_finite(values)
        if found is not None:
            return (
                f"{found[0]} of the {values.size} numbers of {variable.path!r} are "
                f"{found[1]}"
            )
    return None


def describe_not_finite(values: Any) -> tuple[int, str] | None:
    """How many values of an array are no finite number, and of which kind.

    Returns:
        Their number and `"NaN"` or `"infinite"`, that of the first; `None` where all
        are finite.
    """
    values = np.asarray(values)
    wrong = values[~np.isfinite(values)]
    if not wrong.size:
        return None
    return wrong.size, "NaN" if np.isnan(wrong[0]) else "infinite"
