"""The networks without the activation of their last layer."""

from __future__ import annotations

import keras

from scalenet_tf.models import HEAD


def logits_of(model: keras.Model) -> keras.Model:
    """The model without the activation of its last layer; weights are shared."""
    return keras.Model(model.input, model.get_layer(HEAD).output)
