"""The network of an export: checked, folded, without anything of Keras to save."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

from scalenet_tf.backends import require_tensorflow
from scalenet_tf.export.interface import Exportable, ExportError
from scalenet_tf.export.metadata import TEMPERATURE, is_temperature
from scalenet_tf.folding import FoldingError, fold_batch_norm
from scalenet_tf.layers.calls import calls_of
from scalenet_tf.models import HEAD, smallest_side
from scalenet_tf.names import STEM, where_inside
from scalenet_tf.weights.tensors import check_model

_POOLED = "avg_pool"


class Classifier(tf.Module):
    """Features, logits and probabilities of normalised images, at inference.

    It tracks the weights of the model and not the model, so that a SavedModel holds
    its functions alone.

    Args:
        model: A network of this package with its top.
        fold: Whether to fold the batch norms.
        dtype: Data type of the folded model; `None` for that of `model`.
        freeze: Whether the weights are constants of the graph, which TensorFlow
            arranges for its convolutions once and not at every call.
        temperature: What logits are divided by for the probabilities.
    """

    def __init__(
        self,
        model: keras.Model,
        fold: bool,
        dtype: str | None = None,
        freeze: bool = False,
        temperature: float = 1.0,
    ):
        super().__init__()
        if fold:
            model = folded(model, dtype)
        features, logits = (model.get_layer(name).output for name in (_POOLED, HEAD))
        ends_in_logits = model.outputs[0] is logits or temperature != 1
        network = keras.Model(model.inputs[0], [features, logits, model.outputs[0]])
        input_type = model.inputs[0].dtype

        def probabilities(logits: tf.Tensor) -> tf.Tensor:
            if temperature == 1:
                return tf.nn.softmax(logits)
            # There is no division of int8 in TFLite.
            return tf.nn.softmax(tf.cast(logits, tf.float32) * (1 / temperature))

        @tf.function  # one graph that all signatures call
        def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
            # Without `training`, a layer inside may choose the training mode.
            features, logits, last = network(images, training=False)
            outputs = {
                "features": features,
                "logits": logits,
                "probabilities": probabilities(logits) if ends_in_logits else last,
            }
            return {key: tf.cast(x, tf.float32) for key, x in outputs.items()}

        self.image_shape = tuple(network.input_shape[1:])
        if freeze:
            spec = tf.TensorSpec((None, *self.image_shape), input_type, name="images")
            call = _frozen(call.get_concrete_function(spec))
        else:
            self._weights = [weight.value for weight in network.weights]
        # In a lambda, or the function would be saved beside the signatures.
        self._call = lambda images: call(tf.cast(images, input_type))
        self.smallest_side = smallest_side(model)
        self.classes = network.output_shape[1][-1]

    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Features, logits and probabilities, float32, of images `(batch, h, w, 3)`."""
        return self._call(images)


def folded(model: keras.Model, dtype: str | None) -> keras.Model:
    """`fold_batch_norm` for an export.

    Raises:
        ExportError: The model cannot be folded, or not in this data type.
    """
    try:
        return fold_batch_norm(model, dtype)
    except FoldingError as error:
        raise ExportError(str(error)) from error


def _frozen(function: Any) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """A concrete function of one tensor with constants in place of its variables."""
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    names = sorted(function.structured_outputs)  # as the flat outputs are ordered

    def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(names, frozen(images), strict=True))

    return call


def _own_normalization(model: keras.Model) -> str | None:
    """The name of a layer before the network's first that normalises pixels."""
    kinds = (keras.layers.Rescaling, keras.layers.Normalization)
    before = itertools.takewhile(lambda layer: layer.name != STEM.conv, model.layers)
    return next((layer.name for layer in before if isinstance(layer, kinds)), None)


def head_of(model: keras.Model) -> keras.Model:
    """What a model makes of its logits."""
    return keras.Model(model.get_layer(HEAD).output, model.outputs[0])


def ends_in_softmax(model: keras.Model) -> bool:
    """Whether a model gives its logits, or softmax of them."""
    logits = model.get_layer(HEAD).output
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
    model, class_names = content.model, content.class_names
    size = content.transform.image_size
    names = [layer.name for layer in getattr(model, "layers", [])]
    if _POOLED not in names or HEAD not in names:
        raise ExportError(
            "`model` must be a network of this package with its top. Received: "
            f"{getattr(model, 'name', model)!r}, without the layers {_POOLED!r} and "
            f"{HEAD!r}.{where_inside(model)}"
        )
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
    own = _own_normalization(model)
    if own is not None and content.transform.normalization != "none":
        raise ExportError(
            f"`normalization` must be 'none' for {model.name!r}, which normalises "
            f"pixels from 0 to 255 itself, by its layer {own!r}. Received: "
            f"{content.transform.normalization!r}."
        )
    check_temperature(content.temperature)
    if content.temperature != 1 and not ends_in_softmax(model):
        raise ExportError(
            f"`temperature` must be 1 for {model.name!r}, whose probabilities are not "
            f"the softmax of its logits. Received: {content.temperature!r}."
        )
    classes = model.get_layer(HEAD).units
    if len(class_names) != classes:
        raise ExportError(
            f"`class_names` must have one name for each of the model's {classes} "
            f"classes. Received: {len(class_names)} names."
        )
    check_model("`model`", model)
