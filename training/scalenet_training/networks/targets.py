"""The MACs that `--target-macs` asks for. Imports no TensorFlow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scalenet_training.errors import SettingError

if TYPE_CHECKING:
    from scalenet_tf import Architecture

_EXAMPLES = {"MACs": "57000000, 57_000_000 or 57e6", "ms": "12.5"}


def target_macs(
    text: str,
    architecture: Architecture,
    classes: int,
    option: str = "`target_macs`",
) -> float:
    """MACs of an image of the native size, as `--target-macs` says them.

    Args:
        text: `"twin"`, `"<ratio>x"` (of the ResNet twin's MACs) or a number.
        architecture: The network whose twin is meant.
        classes: Classes of the dense layer.
        option: Option that the text came by, for messages.

    Raises:
        SettingError: The text is not one of these; the message names the option.
    """
    value, is_ratio = parse_target(text, option)
    return value * architecture.twin().macs(classes) if is_ratio else value


def parse_target(
    text: str, option: str = "`target_macs`", unit: str = "MACs"
) -> tuple[float, bool]:
    """A number, and whether it is a ratio to what the twin has of the unit.

    Raises:
        SettingError: The text is neither; the message names the option.
    """
    stripped = text.strip().lower()
    if stripped == "twin":
        return 1.0, True
    is_ratio = stripped.endswith("x")
    try:
        value = float(stripped.removesuffix("x"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value <= 0:
        raise SettingError(
            f"{option} must be 'twin' (the {unit} of the ResNet twin), a ratio of "
            f"these such as 0.75x, or a number of {unit} such as {_EXAMPLES[unit]}. "
            f"Received: {text!r}."
        )
    return value, is_ratio
