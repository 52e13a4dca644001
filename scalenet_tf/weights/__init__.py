"""Weights from files and mappings of Keras and PyTorch, checked before use."""

from scalenet_tf.weights.keras_files import (
    check_weights,
    count_arrays,
    load_weights,
    weights_classes,
)
from scalenet_tf.weights.pytorch import (
    load_pytorch_weights,
    pytorch_arrays,
    pytorch_shapes,
)
from scalenet_tf.weights.pytorch_files import Checkpoint, read_pytorch_weights
from scalenet_tf.weights.tensors import LoadReport, check_model

__all__ = [
    "Checkpoint",
    "LoadReport",
    "check_model",
    "check_weights",
    "count_arrays",
    "load_pytorch_weights",
    "load_weights",
    "pytorch_arrays",
    "pytorch_shapes",
    "read_pytorch_weights",
    "weights_classes",
]
