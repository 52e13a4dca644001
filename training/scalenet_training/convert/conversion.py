"""From the authors' PyTorch checkpoints to Keras files."""

from __future__ import annotations

import os

import keras

import scalenet_tf
from scalenet_tf.weights import LoadReport, read_pytorch_weights
from scalenet_training.errors import UsageError, usage_errors
from scalenet_training.networks.starting_point import resolve_architecture
from scalenet_training.runs.files import disk_errors, replaced


def convert(
    checkpoint: str,
    model_name: str,
    output: str,
    overwrite: bool = False,
    key: str | None = None,
) -> tuple[keras.Model, LoadReport]:
    """Writes the weights of a PyTorch checkpoint as a Keras file.

    The number of classes is the checkpoint's.

    Args:
        checkpoint: Its file; see `scalenet_tf.load_pytorch_weights`.
        model_name: A public name, or an architecture's file.
        output: The `.weights.h5` or `.keras` file to write.
        overwrite: Whether to replace the output if it exists.
        key: Where in the file the tensors are, if it has several dictionaries of them.

    Returns:
        The model, and how many tensors were loaded and ignored.

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
        content = read_pytorch_weights(checkpoint, key)
    model = scalenet_tf.ScaleNet(architecture, classes=content.classes)
    with usage_errors():  # of tensors that do not fit the model
        report = scalenet_tf.load_pytorch_weights(model, content)
    with disk_errors(output), replaced(output) as path:
        if output.endswith(".keras"):
            model.save(path)
        else:
            model.save_weights(path)
    return model, report
