"""Batch norms folded into the convolutions before them, for inference.

At inference a batch norm is `scale * x + offset` with constants for each channel, and
so is part of the convolution that gives `x`: its kernel times `scale`, and `offset` as
its bias. In an SA block the upsampling between the two changes nothing: repeated
pixels are equal ones, and the weights of bilinear interpolation add up to 1.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator
from typing import Any

import keras

from scalenet_tf.layers import ScaleAggregation, check_data_format
from scalenet_tf.layers.calls import calls_of, is_graph
from scalenet_tf.layers.copying import copy_weights, is_quantized, plain_config
from scalenet_tf.layers.normalization import folded_weights
from scalenet_tf.names import conv_norms


class FoldingError(ValueError):
    """A model has no batch norms of this package that could be folded as asked for."""


def fold_batch_norm(
    model: keras.Model, dtype: str | keras.DTypePolicy | None = None
) -> keras.Model:
    """Makes an equal model for inference, without the batch norms.

    Layers keep their names, so that `feature_pyramid` and `count_macs` take the result
    as they take `model`, which is left as it was. Layers that are not this package's,
    such as a head of one's own, are copied with their weights; models inside the model
    are folded too. LoRA's matrices become part of the kernels (`layer.enable_lora`).
    The result is not compiled. Folding a folded model gives an equal one.

    Args:
        model: A model of this package, or a functional or sequential model that
            contains one; also one that was saved and loaded.
        dtype: Data type or policy of all layers of the result. Default: those of
            `model`.

    Returns:
        A new functional model; it can be saved and loaded as any other. In float32 its
        output differs by less than 1e-5 of the largest logit.

    Raises:
        FoldingError: `model` has no layers of this package, or is a subclass of
            `keras.Model` with a `call` of its own; or is quantised, and `dtype` given;
            or `dtype` is none of floating numbers.
    """
    check_data_format()
    if not is_graph(model) or not any(
        isinstance(layer, ScaleAggregation) for layer in _all_layers(model)
    ):
        raise FoldingError(
            "`model` must be a model of this package, or a functional or sequential "
            f"model that contains one. Received: {getattr(model, 'name', model)!r}."
        )
    if dtype is not None:
        dtype = _policy_name(dtype)
        _check_not_quantized(model, dtype)
    return _fold(model, dtype)


def _policy_name(dtype: Any) -> str:
    try:
        policy = keras.dtype_policies.get(dtype)
    except (TypeError, ValueError):
        policy = None
    if policy is None or not keras.backend.is_float_dtype(policy.compute_dtype):
        raise FoldingError(
            "`dtype` must be a floating data type, or the name of a policy, such as "
            f"'float32' or 'mixed_bfloat16'. Received: {dtype!r}."
        )
    return str(policy.name)


def _check_not_quantized(model: keras.Model, dtype: str) -> None:
    names = [layer.name for layer in _all_layers(model) if is_quantized(layer)]
    if names:
        raise FoldingError(
            f"`model` must not be quantised where it is to be {dtype}: its layer "
            f"{names[0]!r} is, by Keras' `quantize`. Take the model as it was before; "
            "a TFLite file can be quantised as it is exported, and a SavedModel takes "
            f"the layer as it is. Received: {model.name!r}."
        )


def _all_layers(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        yield layer
        if is_graph(layer):
            yield from _all_layers(layer)


def _fold(model: keras.Model, dtype: str | None) -> keras.Model:
    plain = _uncompiled(model)
    pairs = _pairs(plain)
    norms = set(pairs.values())

    def clone(layer: Any) -> Any:
        if is_graph(layer):
            return _fold(layer, dtype)
        is_block = isinstance(layer, ScaleAggregation)
        config = layer.folded_config() if is_block else plain_config(layer)
        if dtype is not None and isinstance(layer, keras.Layer):
            config["dtype"] = dtype
        if layer.name in pairs:
            config["use_bias"] = True
        elif isinstance(layer, keras.layers.Activation):
            config["activation"] = layer.activation  # which may not be serialisable
        return type(layer).from_config(config)

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return args[0] if layer.name in norms else layer(*args, **kwargs)

    folded = keras.models.clone_model(
        plain,
        input_tensors=None if dtype is None else _inputs(plain, dtype),
        clone_function=clone,
        call_function=call,
    )
    for layer in model.layers:
        is_input = isinstance(layer, keras.layers.InputLayer)
        if is_input or layer.name in norms or is_graph(layer):
            continue
        copy = folded.get_layer(layer.name)
        if isinstance(layer, ScaleAggregation):
            layer.fold_into(copy)
        elif layer.name in pairs:
            norm = model.get_layer(pairs[layer.name])
            copy.set_weights(folded_weights(layer, norm))
        else:
            copy_weights(layer, copy)
    return folded


def _uncompiled(model: keras.Model) -> keras.Model:
    """The same layers, without losses and metrics, which may not be clonable."""
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    plain = keras.Model(model.input, model.output, name=model.name)
    if type(model).__init__ is not type(plain).__init__:
        return plain
    # A class without arguments of its own, such as that of this package's networks.
    return type(model)(model.input, model.output, name=model.name)


def _inputs(model: keras.Model, dtype: str) -> Any:
    """New inputs like the model's; those that are floating get the data type."""
    floating = keras.DTypePolicy(dtype).variable_dtype

    def like(tensor: Any) -> Any:
        kept = tensor.dtype
        new = floating if keras.backend.is_float_dtype(kept) else kept
        return keras.Input(batch_shape=tensor.shape, dtype=new, name=tensor.name)

    return keras.tree.map_structure(like, model.input)


def _pairs(model: keras.Model) -> dict[str, str]:
    """Name of a convolution -> name of the batch norm after it.

    A convolution whose own output is asked for, or goes elsewhere too, keeps it, and
    its batch norm.
    """
    calls = calls_of(model)
    used = [model.outputs, *(call.inputs for call in calls)]
    uses = collections.Counter(map(id, itertools.chain(*used)))
    taken: dict[str, list[int]] = {layer.name: [] for layer in model.layers}
    for call in calls:
        taken.setdefault(call.layer.name, []).append(uses[id(call.outputs[0])])
    return {
        pair.conv: pair.norm
        for pair in conv_norms(taken)
        if pair.norm in taken and taken[pair.conv] == [1]
    }
