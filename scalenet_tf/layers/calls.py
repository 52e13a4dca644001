"""The calls of a model's graph: which layer takes which tensors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
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


def is_graph(model: Any) -> bool:
    """Whether a model is functional or sequential, so that its calls are known."""
    return isinstance(model, keras.Model) and bool(getattr(model, "inputs", None))


def calls_of(model: keras.Model) -> list[Call]:
    """The calls of a functional or sequential model, but for its inputs.

    Unlike `layer.output` they are of this model alone, whatever else its layers are in.
    """
    nodes = itertools.chain(*_functional(model)._nodes_by_depth.values())
    return [
        Call(node.operation, list(node.input_tensors), list(node.outputs))
        for node in nodes
        if not node.is_input
    ]


def input_of(model: keras.Model, names: Sequence[str]) -> Any:
    """The tensor that the first named layer takes which there is; None without one."""
    taken = {call.layer.name: call.inputs[0] for call in calls_of(model)}
    return next((taken[name] for name in names if name in taken), None)


def output_of(model: keras.Model, name: str) -> Any:
    """The tensor that a layer gives in this model; `layer.output` may be another's.

    Raises:
        ValueError: The model has no such layer.
    """
    for call in calls_of(model):
        if call.layer.name == name:
            return call.outputs[0]
    raise ValueError(f"{model.name!r} does not call a layer {name!r}.")


def calls_at(model: keras.Model, inputs: Sequence[Any]) -> list[Call]:
    """The calls that there would be for other inputs; no layer is called, nor copied.

    Args:
        model: A functional or sequential model.
        inputs: Keras tensors of any size that the model takes, in its inputs' order.
    """
    calls = []

    def recorded(layer: Any) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            outputs = layer.compute_output_spec(*args, **kwargs)
            given = keras.tree.flatten((args, kwargs))
            tensors = [x for x in given if keras.backend.is_keras_tensor(x)]
            calls.append(Call(layer, tensors, keras.tree.flatten(outputs)))
            return outputs

        return call

    _functional(model)._run_through_graph(list(inputs), operation_fn=recorded)
    return calls


def _functional(model: keras.Model) -> Any:
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs, model.outputs)
    return model
