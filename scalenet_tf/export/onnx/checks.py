"""What layers do for which there is no ONNX here: refused, not written otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras

# What a subclass must not do in its own way.
_METHODS = ("call", "pool", "make_sublayers")

# The only values of attributes that are written.
_PLAIN: Mapping[type, Mapping[str, Any]] = MappingProxyType(
    {
        keras.layers.ReLU: {"threshold": 0},
        keras.layers.Normalization: {"invert": False},
        keras.layers.GlobalAveragePooling2D: {"keepdims": False},
    }
)


def check_writable(layer: Any, kind: type, rank: int) -> None:
    """Checks that a layer does what is written for its kind.

    Args:
        layer: The layer.
        kind: The class that is written; the layer's own, or one above it.
        rank: Dimensions of its input, with that of the batch.

    Raises:
        ValueError: It does something else; the message names it.
    """
    for method in _METHODS:
        own, plain = (getattr(each, method, None) for each in (type(layer), kind))
        if own is not plain:
            raise _error(layer, f"with a {method!r} of its own")
    plain_values = {"data_format": "channels_last", **_PLAIN.get(kind, {})}
    for name, value in plain_values.items():
        if getattr(layer, name, value) != value:
            raise _error(layer, f"with {name} {getattr(layer, name)!r}")
    is_dense = isinstance(layer, keras.layers.Dense)
    is_softmax = getattr(layer, "activation", None) is keras.activations.softmax
    if rank != 2 and (is_dense or is_softmax):
        raise _error(layer, f"of a tensor of {rank} dimensions")
    if isinstance(layer, keras.layers.Normalization):
        axes = [axis % rank for axis in layer.axis]
        if axes not in ([], [rank - 1]):
            raise _error(layer, f"with axis {tuple(layer.axis)}")


def _error(layer: Any, what: str) -> ValueError:
    return ValueError(
        f"`model` has the layer {layer.name!r} ({type(layer).__name__}) {what}, for "
        "which there is no ONNX here."
    )
