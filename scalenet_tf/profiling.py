"""What a model costs."""

from __future__ import annotations

import math

import keras

from scalenet_tf.layers import ScaleAggregation


def count_macs(model: keras.Model) -> int:
    """Counts the multiply-accumulates of one image at the model's static input size.

    Convolutions and dense layers count; batch norm, pooling, activations and
    upsampling do not.

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
    return sum(_layer_macs(layer) for layer in model.layers)


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


def _layer_macs(layer: keras.Layer) -> int:
    if isinstance(layer, keras.Model):
        return count_macs(layer)
    if isinstance(layer, ScaleAggregation):
        return layer.macs(*layer.input.shape[1:])
    if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
        positions = math.prod(layer.output.shape[1:-1])
        return positions * math.prod(layer.kernel.shape)
    if "Conv" in type(layer).__name__:
        raise ValueError(
            f"MACs of layer {layer.name!r} ({type(layer).__name__}) cannot be counted."
        )
    return 0
