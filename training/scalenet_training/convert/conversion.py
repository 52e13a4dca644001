"""From the authors' PyTorch checkpoints to Keras files."""

from __future__ import annotations

import os

import keras

import scalenet_tf
from scalenet_tf.weights import LoadReport, read_pytorch_weights
from scalenet_training.convert.config import ConvertConfig
from scalenet_training.errors import UsageError, usage_errors
from scalenet_training.networks.starting_point import resolve_architecture
from scalenet_training.runs.files import disk_errors, replaced


def convert(config: ConvertConfig) -> tuple[keras.Model, LoadReport]:
    """Writes the weights of a PyTorch checkpoint as a Keras file.

    The number of classes is the checkpoint's.

    Returns:
        The model, and how many tensors were loaded and ignored.

    Raises:
        UsageError: The checkpoint does not fit the model, or the output exists; nothing
            was written.
        RunError: The output cannot be written.
    """
    output = config.output
    if os.path.exists(output) and not config.overwrite:
        raise UsageError(f"`output` {output!r} exists. Give `overwrite` to replace it.")
    with usage_errors():
        architecture = resolve_architecture(config.model)
        content = read_pytorch_weights(config.checkpoint, config.key)
    model = scalenet_tf.ScaleNet(architecture, classes=content.classes)
    with usage_errors():  # of tensors that do not fit the model
        report = scalenet_tf.load_pytorch_weights(model, content)
    with disk_errors(output), replaced(output) as path:
        if output.endswith(".keras"):
            model.save(path)
        else:
            model.save_weights(path)
    return model, report
