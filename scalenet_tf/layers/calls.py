"""The calls of a model's graph: which layer takes which tensors."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import keras


class Call(NamedTuple):
    """One call of a layer or an operation.

    Attributes:
        layer: What is called; a layer may be called several times.
        inputs: The tensors that it takes.
        outputs: The tensors that it gives.
    """

    layer: Any
    inputs: list[Any]
    outputs: list[Any]


def calls_of(model: keras.Model) -> list[Call]:
    """The calls of a functional or sequential model, but for its inputs.

    Unlike `layer.output` they are of this model alone, whatever else its layers are in.
    """
    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs, model.outputs)
    nodes = itertools.chain(*model._nodes_by_depth.values())
    return [
        Call(node.operation, list(node.input_tensors), list(node.outputs))
        for node in nodes
        if not node.is_input
    ]
