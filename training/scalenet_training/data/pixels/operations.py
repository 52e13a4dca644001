"""Elementary operations by name: a table, from which policies choose."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import tensorflow as tf

from scalenet_training.data.pixels import colour, geometry

# (pixels uint8 (height, width, 3), amount: a float32 scalar) -> pixels
Operation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        "identity": lambda pixels, amount: pixels,
        "brightness": colour.brightness,
        "color": colour.color,
        "contrast": colour.contrast,
        "sharpness": colour.sharpness,
        "posterize": colour.posterize,
        "solarize": colour.solarize,
        "equalize": lambda pixels, amount: colour.equalize(pixels),
        "autocontrast": lambda pixels, amount: colour.autocontrast(pixels),
        "shear_x": geometry.shear_x,
        "shear_y": geometry.shear_y,
        "translate_x": geometry.translate_x,
        "translate_y": geometry.translate_y,
        "rotate": geometry.rotate,
    }
)


def apply_operations(
    names: Sequence[str], choices: tf.Tensor, pixels: tf.Tensor, amounts: tf.Tensor
) -> tf.Tensor:
    """Applies some operations, one after the other, and computes no others.

    Args:
        names: What there is to choose from.
        choices: Places in `names`, int32 `(count,)`.
        pixels: Uint8 `(height, width, 3)`.
        amounts: Of the operations, float32 `(count,)`.
    """

    def applied(number: tf.Tensor, pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        amount = amounts[number]
        branches = [
            functools.partial(OPERATIONS[name], pixels, amount) for name in names
        ]
        return number + 1, tf.switch_case(choices[number], branches)

    # A loop in the graph: all operations would be traced once for each choice else.
    count = choices.shape[0]
    start = (tf.constant(0), pixels)
    return tf.while_loop(lambda number, _: number < count, applied, start)[1]
