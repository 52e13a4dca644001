"""From the authors' PyTorch checkpoints to Keras files."""

from __future__ import annotations

import os

import keras

import scalenet_tf
from scalenet_tf.weights import read_pytorch_weights
from scalenet_training.errors import UsageError, usage_errors
from scalenet_training.files import disk_errors, replaced
from scalenet_training.starting_point import resolve_architecture


def convert(
    checkpoint: str, model_name: str, output: str, overwrite: bool = False
) -> keras.Model:
    """Writes the weights of a PyTorch checkpoint as a Keras file; returns the model.

    The number of classes is the checkpoint's.

    Raises:
        UsageError: The checkpoint does not fit the model, or the output is not allowed;
            nothing was written.
        RunError: The output cannot be written.
    """
    if not output.endswith((".weights.h5", ".keras")):
        raise UsageError(
            f"--output must end in .weights.h5 or .keras. Received: {output!r}."
        )
    if os.path.exists(output) and not overwrite:
        raise UsageError(f"--output {output!r} exists. Give --overwrite to replace it.")
    if not os.path.isdir(os.path.dirname(output) or "."):
        raise UsageError(f"--output: there is no folder {os.path.dirname(output)!r}.")
    with usage_errors():
        architecture = resolve_architecture(model_name)
        tensors = read_pytorch_weights(checkpoint)
        classes = len(tensors["fc.bias"]) if "fc.bias" in tensors else None
        model = scalenet_tf.ScaleNet(architecture, classes=classes)
        scalenet_tf.load_pytorch_weights(model, tensors)
    with disk_errors(output), replaced(output) as path:
        if output.endswith(".keras"):
            model.save(path)
        else:
            model.save_weights(path)
    return model
