"""What a model costs."""

from __future__ import annotations

import math

import keras

from scalenet_tf.layers import ScaleAggregation
from scalenet_tf.layers.calls import Call, calls_at, calls_of, is_graph


def count_macs(model: keras.Model) -> int:
    """Counts the multiply-accumulates of one image at the model's static input size.

    Convolutions and dense layers count, as often as they are called; batch norm,
    pooling, activations and upsampling do not. A model inside the model counts at the
    size that it is called with.

    Raises:
        ValueError: The model is neither functional nor sequential, its input size is
            unknown, or it has layers that multiply in a way that is not counted.
    """
    if not is_graph(model):
        raise ValueError(
            "`model` must be a functional model, or a sequential one that is built. "
            f"Received: {getattr(model, 'name', model)!r} ({type(model).__name__})."
        )
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


# Layers and operations without kernels that multiply two tensors.
_PRODUCTS = ("Dot", "Einsum", "Inner", "Matmul", "Outer", "Tensordot", "Vdot")
# Layers whose weights are looked up or multiplied pixel by pixel.
_WITHOUT_MACS = (
    keras.layers.Embedding,
    keras.layers.LayerNormalization,
    keras.layers.Normalization,
    keras.layers.PReLU,
)


def _call_macs(call: Call) -> int:
    layer = call.layer
    if is_graph(layer):
        return sum(_call_macs(inner) for inner in calls_at(layer, call.inputs))
    if isinstance(layer, ScaleAggregation):
        return layer.macs(*call.inputs[0].shape[1:])
    if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
        positions = math.prod(call.outputs[0].shape[1:-1])
        return positions * math.prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.TimeDistributed):
        return _steps_macs(call)
    kind = type(layer).__name__
    has_kernels = any(len(w.shape) > 1 for w in getattr(layer, "weights", ()))
    if (has_kernels and not isinstance(layer, _WITHOUT_MACS)) or (
        kind in _PRODUCTS or "Conv" in kind or "Attention" in kind
    ):
        raise ValueError(f"MACs of layer {layer.name!r} ({kind}) cannot be counted.")
    return 0


def _steps_macs(call: Call) -> int:
    """Of a layer that is called with each of so many steps."""
    shapes = [
        [keras.KerasTensor((x.shape[0], *x.shape[2:]), x.dtype) for x in tensors]
        for tensors in (call.inputs, call.outputs)
    ]
    return call.inputs[0].shape[1] * _call_macs(Call(call.layer.layer, *shapes))
