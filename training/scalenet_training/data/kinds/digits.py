"""Scikit-learn's digits, which need no download."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from scalenet_training.data.division import split_once
from scalenet_training.data.inventory import inventory_of_labels
from scalenet_training.data.source import Source, indexed_source


def open_digits() -> Source:
    """Scikit-learn's 1,797 digits, 8x8 in 17 greys, enlarged to 32x32x3."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    pixels = pixels.repeat(4, axis=1).repeat(4, axis=2).repeat(3, axis=3)
    pixels, numbers = tf.constant(pixels), tf.constant(labels, tf.int64)
    class_names = tuple("0123456789")
    splits = split_once(len(labels), validation=0.2)
    return indexed_source(
        "digits",
        class_names,
        splits,
        lambda index: (tf.gather(pixels, index), tf.gather(numbers, index)),
        labels=labels,
        identity={"kind": "digits"},
        inventory=lambda: inventory_of_labels(class_names, splits, labels),
    )
