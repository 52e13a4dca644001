"""The network of an export: folded, without anything of Keras to save."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

from scalenet_tf.export.interface import ExportError
from scalenet_tf.folding import FoldingError, fold_batch_norm
from scalenet_tf.layers.calls import output_of
from scalenet_tf.models import smallest_side
from scalenet_tf.names import HEAD, POOLED


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
        features, logits = (output_of(model, name) for name in (POOLED, HEAD))
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
