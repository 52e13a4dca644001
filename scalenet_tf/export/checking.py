"""What can be exported: checks of a model, its transform and its class names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from scalenet_tf.backends import require_tensorflow
from scalenet_tf.export.interface import Exportable, ExportError
from scalenet_tf.export.metadata import (
    NAMES,
    TEMPERATURE,
    are_names,
    check_metadata,
    is_temperature,
    metadata,
)
from scalenet_tf.layers.calls import Call, calls_of, input_of, output_of
from scalenet_tf.names import HEAD, POOLED, STEM_ENTRANCES, where_inside
from scalenet_tf.weights.tensors import check_model


def head_of(model: keras.Model) -> keras.Model:
    """What a model makes of its logits."""
    return keras.Model(output_of(model, HEAD), model.outputs[0])


def ends_in_softmax(model: keras.Model) -> bool:
    """Whether a model gives its logits, or softmax of them."""
    logits = output_of(model, HEAD)
    if model.outputs[0] is logits:
        return True
    calls = {id(call.outputs[0]): call for call in calls_of(model)}
    layer, inputs, _ = calls[id(model.outputs[0])]
    activation = getattr(layer, "activation", None)
    # Keras' layer of that name, or its operation, `keras.ops.softmax`.
    is_one = type(layer).__name__ == "Softmax"
    is_softmax = is_one or activation is keras.activations.softmax
    return is_softmax and inputs[0] is logits


def check_temperature(value: float) -> None:
    """Checks that logits can be divided by a temperature.

    Raises:
        ExportError: They cannot.
    """
    if not is_temperature(value):
        raise ExportError(f"`temperature` must be {TEMPERATURE}. Received: {value!r}.")


def check_classifier(content: Exportable) -> None:
    """Checks that a model can be exported with a transform and names of classes.

    Raises:
        ExportError: It cannot; the message names the argument.
        ValueError: A weight is NaN or infinite, or a variance negative.
        BackendError: Keras computes by another backend than TensorFlow.
    """
    require_tensorflow("an export")
    model = content.model
    names = [layer.name for layer in getattr(model, "layers", [])]
    if POOLED not in names or HEAD not in names:
        raise ExportError(
            "`model` must be a network of this package with its top. Received: "
            f"{getattr(model, 'name', model)!r}, without the layers {POOLED!r} and "
            f"{HEAD!r}.{where_inside(model)}"
        )
    _check_input(model, content.transform.image_size)
    _check_output(model)
    _check_normalization(content)
    check_temperature(content.temperature)
    if content.temperature != 1 and not ends_in_softmax(model):
        raise ExportError(
            f"`temperature` must be 1 for {model.name!r}, whose probabilities are not "
            f"the softmax of its logits. Received: {content.temperature!r}."
        )
    _check_class_names(content)
    try:
        check_metadata(metadata(content))
    except ValueError as error:
        raise ExportError(f"An export could not be opened again: {error}.") from error
    check_model("`model`", model)


def _check_input(model: keras.Model, size: int) -> None:
    image = model.inputs[0]
    if (
        len(model.inputs) != 1
        or image.shape[-1] != 3
        or not keras.backend.is_float_dtype(image.dtype)
    ):
        raise ExportError(
            "`model` must take normalised RGB images, (batch, height, width, 3) of a "
            f"floating type. Received: an input of shape {tuple(image.shape)} and type "
            f"{image.dtype}."
        )
    if not {*image.shape[1:3]} <= {None, size}:
        raise ExportError(
            "`transform.image_size` must be the side of the model's input, of shape "
            f"{tuple(image.shape)}. Received: image_size={size}."
        )


def _check_output(model: keras.Model) -> None:
    """The one output must be logits or scores of the same classes, made of them."""
    layer, outputs = model.get_layer(HEAD), model.outputs
    logits = output_of(model, HEAD)
    if layer.activation is not keras.activations.linear:
        raise ExportError(
            f"the layer {HEAD!r} of `model` must have no activation: logits go through "
            "a layer of their own, such as keras.layers.Softmax(). Received: "
            f"{keras.activations.serialize(layer.activation)!r}."
        )
    received = None
    if len(outputs) != 1:
        received = f"{len(outputs)} outputs"
    elif tuple(outputs[0].shape) != tuple(logits.shape):
        received = f"an output of shape {tuple(outputs[0].shape)}"
    elif not _is_made_of(outputs[0], logits, model):
        received = "an output that needs more than the logits"
    if received is not None:
        raise ExportError(
            f"`model` must have one output, {tuple(logits.shape)}, which is its "
            f"logits or made of them alone. Received: {received} of {model.name!r}; "
            "pass keras.Model(model.inputs, SCORES), where SCORES is that output."
        )


def _is_made_of(output: Any, source: Any, model: keras.Model) -> bool:
    """Whether nothing but a tensor is needed for another."""
    makers = {id(out): call for call in calls_of(model) for out in call.outputs}
    left = [output]
    while left:
        tensor = left.pop()
        if tensor is source:
            continue
        if id(tensor) not in makers:
            return False
        left += makers[id(tensor)].inputs
    return True


def _check_normalization(content: Exportable) -> None:
    model, transform = content.model, content.transform
    if transform.normalization == "none":
        return
    own = _own_normalization(model, transform.image_size)
    if own is not None:
        raise ExportError(
            f"`normalization` must be 'none' for {model.name!r}, which normalises "
            f"pixels from 0 to 255 itself, by its layer {own!r}. Received: "
            f"{transform.normalization!r}."
        )


def _own_normalization(model: keras.Model, size: int) -> str | None:
    """The name of what changes pixels before the network's first convolution.

    What has weights may as well have learned from normalised pixels: it is trusted.
    """
    entrance = input_of(model, STEM_ENTRANCES)
    if entrance is None or entrance is model.inputs[0]:
        return None
    front = keras.Model(model.inputs[0], entrance)
    before = calls_of(front)
    kinds = (keras.layers.Rescaling, keras.layers.Normalization)
    for layer in _layers(before):
        if isinstance(layer, kinds):
            return str(layer.name)
    if any(getattr(call.layer, "weights", ()) for call in before):
        return None
    # What resizes, crops or mirrors leaves an image of one colour as it is.
    levels = np.array([-1.0, 0.0, 0.5, 100.0], np.float32).reshape(-1, 1, 1, 1)
    images = np.broadcast_to(levels, (len(levels), size, size, 3))
    seen = np.asarray(keras.ops.cast(front(images, training=False), "float32"))
    if seen.shape[-1] == 3 and np.allclose(seen, levels, rtol=1e-2):
        return None
    return str(before[-1].layer.name)


def _layers(calls: list[Call]) -> Iterator[keras.layers.Layer]:
    """The layers that are called, also inside of models."""
    for call in calls:
        inside = getattr(call.layer, "_flatten_layers", None)
        yield from inside() if inside is not None else ()


def _check_class_names(content: Exportable) -> None:
    class_names, classes = [*content.class_names], content.model.get_layer(HEAD).units
    if len(class_names) != classes:
        raise ExportError(
            f"`class_names` must have one name for each of the model's {classes} "
            f"classes. Received: {len(class_names)} names."
        )
    if not are_names(class_names):
        wrong = next(name for name in class_names if not are_names([name]))
        raise ExportError(f"`class_names` must be {NAMES}. Received: {wrong!r}.")
