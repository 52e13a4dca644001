"""Weights from files and mappings of Keras and PyTorch, checked before use."""

from scalenet_tf.weights.keras_files import WeightsFile, open_weights
from scalenet_tf.weights.pytorch import (
    load_pytorch_weights,
    pytorch_arrays,
    pytorch_shapes,
)
from scalenet_tf.weights.pytorch_files import Checkpoint, read_pytorch_weights
from scalenet_tf.weights.saved_models import load_model
from scalenet_tf.weights.tensors import LoadReport

__all__ = [
    "Checkpoint",
    "LoadReport",
    "WeightsFile",
    "load_model",
    "load_pytorch_weights",
    "open_weights",
    "pytorch_arrays",
    "pytorch_shapes",
    "read_pytorch_weights",
]
