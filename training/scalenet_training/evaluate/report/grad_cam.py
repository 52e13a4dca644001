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
    outputs = [model.get_layer(POOLED).input, model.get_layer(HEAD).output]
    both = keras.Model(model.inputs, outputs)
    starts = range(0, len(images), _BATCH)
    return np.concatenate(
        [_maps(both, images[s : s + _BATCH], classes[s : s + _BATCH]) for s in starts]
    )


def _maps(both: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    inputs = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(inputs)  # so that frozen layers are recorded, too
        features, logits = both([inputs], training=False)
        score = tf.reduce_sum(tf.gather(logits, classes, batch_dims=1))
    gradients = tape.gradient(score, features)
    weights = tf.reduce_mean(tf.cast(gradients, tf.float32), axis=(1, 2), keepdims=True)
    evidence = tf.nn.relu(
        tf.reduce_sum(weights * tf.cast(features, tf.float32), -1, keepdims=True)
    )
    highest = tf.reduce_max(evidence, axis=(1, 2), keepdims=True)
    scaled = tf.math.divide_no_nan(evidence, highest)
    return tf.image.resize(scaled, images.shape[1:3])[..., 0].numpy()
