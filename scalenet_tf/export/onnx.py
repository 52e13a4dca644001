"""ONNX files, for onnxruntime and other runtimes that are not TensorFlow's."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Sequence
from types import ModuleType

import keras

from scalenet_tf.export.classifier import check_classifier
from scalenet_tf.export.metadata import METADATA_FILE, metadata
from scalenet_tf.files import made_folder, replaced
from scalenet_tf.folding import fold_batch_norm
from scalenet_tf.models import HEAD
from scalenet_tf.preprocessing import EvaluationTransform

_OUTPUTS = ("logits", "probabilities")


def convert_onnx(
    model: keras.Model,
    path: str | os.PathLike[str],
    transform: EvaluationTransform,
    class_names: Sequence[str],
) -> None:
    """Writes a model as an ONNX file of opset 18.

    Input `images`, `(batch, image_size, image_size, 3)`, float32, as `preprocess_input`
    leaves them; outputs `logits` and `probabilities`. Batch norms are folded; a model
    of 16-bit computations is converted to float32 first. `read_metadata` gives the
    class names and the normalisation, which the file keeps as metadata.

    Args:
        model: A network of this package with its top.
        path: Where to write; a file that is there is replaced in one step.
        transform: What evaluation does to an image.
        class_names: Names of the classes, in the order of the logits.

    Raises:
        ImportError: onnx is not installed.
        OSError: The file cannot be written; what was there is left as it was.
        ValueError: An argument does not fit, or the model has a layer for which there
            is no ONNX here.
    """
    path = os.path.abspath(os.fspath(path))
    check_classifier(model, transform, class_names)
    converted = _graphs().onnx_graph(_network(model), _OUTPUTS, transform.image_size)
    entry = converted.metadata_props.add()
    entry.key = METADATA_FILE
    entry.value = json.dumps(
        {**metadata(model, transform, class_names), "input_type": "float32"}
    )
    with (
        made_folder(os.path.dirname(path)),
        replaced(path) as temporary,
        open(temporary, "wb") as file,
    ):
        file.write(converted.SerializeToString())


def _graphs() -> ModuleType:
    try:
        return importlib.import_module("scalenet_tf.export.onnx_graph")
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise ImportError(
            "ONNX files need the package onnx: pip install 'scalenet_tf[onnx]'."
        ) from error


def _network(model: keras.Model) -> keras.Model:
    """Logits and probabilities, of float32, without batch norms."""
    folded = fold_batch_norm(model, "float32")
    logits, last = folded.get_layer(HEAD).output, folded.outputs[0]
    if last is logits:
        last = keras.layers.Activation("softmax", name="predictions")(logits)
    return keras.Model(folded.inputs[0], [logits, last], name=model.name)
