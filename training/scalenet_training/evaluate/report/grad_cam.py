"""Where in a picture a network finds the evidence for a class.

Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via
Gradient-based Localization", ICCV 2017, equations 1 and 2.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from scalenet_tf.models import HEAD
from scalenet_tf.names import POOLED

_BATCH = 8


def has_map(model: keras.Model) -> bool:
    """Whether the network has a last feature map, which a layer averages."""
    return any(layer.name == POOLED for layer in model.layers)


def grad_cam(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The evidence for a class in each image, by the last feature map.

    Args:
        model: A network of this package, with its top.
        images: `(images, size, size, 3)`, as the network takes them.
        classes: The class of each image whose logit is explained.

    Returns:
        `(images, size, size)`, in which 1 is the most of each image, at a point of the
        map; all zeros where nothing speaks for the class.
    """
    last = model.get_layer(POOLED).input
    body = keras.Model(model.inputs, last)
    top = keras.Model(last, model.get_layer(HEAD).output)
    found = []
    for start in range(0, len(images), _BATCH):
        own = slice(start, start + _BATCH)
        features = body([tf.constant(images[own])], training=False)
        evidence = _evidence(top, features, classes[own])
        found.append(tf.image.resize(evidence, images.shape[1:3])[..., 0].numpy())
    return np.concatenate(found)


def _evidence(top: keras.Model, features: tf.Tensor, classes: np.ndarray) -> tf.Tensor:
    """At each point of the feature maps, `(images, height, width, 1)`."""
    with tf.GradientTape() as tape:
        tape.watch(features)
        logits = top(features, training=False)
        score = tf.reduce_sum(tf.gather(logits, classes, batch_dims=1))
    gradients = tf.cast(tape.gradient(score, features), tf.float32)
    weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
    weighted = weights * tf.cast(features, tf.float32)
    evidence = tf.nn.relu(tf.reduce_sum(weighted, -1, keepdims=True))
    highest = tf.reduce_max(evidence, axis=(1, 2), keepdims=True)
    return tf.math.divide_no_nan(evidence, highest)
