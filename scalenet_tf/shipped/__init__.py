"""Weights of trained networks that come with the package. Imports no TensorFlow."""

from scalenet_tf.shipped.weights import (
    EVALUATION_FILE,
    NETWORK_FILE,
    ShippedWeights,
    describe_weights,
    find_shipped,
    list_weights,
)

__all__ = [
    "EVALUATION_FILE",
    "NETWORK_FILE",
    "ShippedWeights",
    "describe_weights",
    "find_shipped",
    "list_weights",
]
