"""The files of a report, and its report.json, read. Imports no TensorFlow."""

from __future__ import annotations

import os
from typing import Any

from scalenet_tf.files import read_json
from scalenet_training.errors import UsageError

PAGE, FACTS = "report.html", "report.json"
CONFUSION, CALIBRATION = "confusion.png", "calibration.png"
ERRORS, CURVES = "errors.png", "curves.png"

# The figures of a report -> what they show.
CAPTIONS = {
    CURVES: "Top-1 errors of the run over its epochs.",
    ERRORS: "Wrong answers with the highest probability: the given class, what it was "
    "taken for, and the probability of that.",
    CONFUSION: "Classes that are taken for each other are neighbours. Right answers "
    "are grey, wrong ones red.",
    CALIBRATION: "Accuracy by the probability of the predicted class; below, how many "
    "examples have such a probability.",
}

# What others read of it -> its type.
_FIELDS = {
    "model": str,
    "dataset": str,
    "eval_split": str,
    "examples": int,
    "classes": int,
    "top1_error": float,
    "loss": float,
    "calibration": dict,
}


def read_facts(path: str) -> dict[str, Any]:
    """What a report says.

    Args:
        path: Its folder, or its report.json.

    Raises:
        UsageError: There is none that can be read; the message names the field.
    """
    file = os.path.join(path, FACTS) if os.path.isdir(path) else path
    try:
        content = read_json(file)
        if not isinstance(content, dict):
            raise ValueError("it is no object")
        for name, kind in _FIELDS.items():
            if not isinstance(content.get(name), kind):
                raise ValueError(f"it has no field {name!r}, {kind.__name__}")
        if not isinstance(content.get("trained_on"), int | None):  # not in earlier ones
            raise ValueError("its field 'trained_on' is no whole number")
        if not isinstance(content.get("network_sha256"), str | None):
            raise ValueError("its field 'network_sha256' is no text")
        for name in ("ece", "temperature"):
            value = content["calibration"].get(name)
            if not isinstance(value, float | None):
                raise ValueError(f"its field 'calibration.{name}' is no number")
    except (OSError, ValueError) as error:
        reason = str(error).rstrip(".")
        raise UsageError(f"{file!r} is no report of an evaluation: {reason}.") from None
    return content
