"""What a model costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras

from scalenet_tf.layers import ScaleAggregation
from scalenet_tf.layers.calls import Call, calls_of


def count_macs(model: keras.Model) -> int:
    """Counts the multiply-accumulates of one image at the model's static input size.

    Convolutions and dense layers count, as often as they are called; batch norm,
    pooling, activations and upsampling do not. A model inside the model counts at the
    size that it is called with.

    Raises:
        ValueError: The model's input size is unknown, or it has convolutions of a
            kind that is not counted.
    """
    for tensor in model.inputs:
        if None in tensor.shape[1:]:
            raise ValueError(
                "`model` must have a static input size: MACs depend on it. Received "
                f"an input of shape {tuple(tensor.shape)}; build the model with "
                "`input_shape=(height, width, channels)`."
            )
    return sum(_call_macs(call) for call in calls_of(model))


def count_parameters(model: keras.Model) -> int:
    """Counts what training changes by gradients, in frozen layers too.

    The moving statistics of batch norms, which `model.count_params()` has too, are
    not parameters.
    """
    statistics = ("moving_mean", "moving_variance")
    return sum(
        math.prod(weight.shape)
        for weight in model.weights
        if not weight.path.endswith(statistics)
    )


def _call_macs(call: Call) -> int:
    layer = call.layer
    if isinstance(layer, keras.Model):
        return count_macs(_at_size(layer, call.inputs))
    if isinstance(layer, ScaleAggregation):
        return layer.macs(*call.inputs[0].shape[1:])
    if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
        positions = math.prod(call.outputs[0].shape[1:-1])
        return positions * math.prod(layer.kernel.shape)
    if "Conv" in type(layer).__name__:
        raise ValueError(
            f"MACs of layer {layer.name!r} ({type(layer).__name__}) cannot be counted."
        )
    return 0


def _at_size(model: keras.Model, inputs: Sequence[Any]) -> keras.Model:
    """A model like one that takes any size, for the size that it is called with."""
    if all(None not in tensor.shape[1:] for tensor in model.inputs):
        return model
    sized = [keras.Input(batch_shape=x.shape, dtype=x.dtype) for x in inputs]
    tensors = keras.tree.pack_sequence_as(model.input, sized)
    return keras.models.clone_model(model, input_tensors=tensors)
