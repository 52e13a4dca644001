"""ONNX files, for onnxruntime and other runtimes that are not TensorFlow's."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from scalenet_tf.export.classifier import Classifier, check_classifier
from scalenet_tf.export.interface import (
    Exportable,
    ExportError,
    FormatOptions,
    Function,
)
from scalenet_tf.export.metadata import METADATA_FILE, metadata
from scalenet_tf.export.requests import DEFAULT
from scalenet_tf.extras import import_extra
from scalenet_tf.files import made_folder, replaced
from scalenet_tf.preprocessing import EvaluationTransform

_OPSET = 18  # the first whose Resize takes the sizes of some axes alone


class Options(FormatOptions):
    """An ONNX file has none."""


def convert_onnx(
    model: keras.Model,
    path: str | os.PathLike[str],
    transform: EvaluationTransform,
    class_names: Sequence[str],
) -> None:
    """Writes a model as an ONNX file of opset 18, by tf2onnx.

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
        MissingPackageError: tf2onnx is not installed.
        OSError: The file cannot be written; what was there is left as it was.
        ExportError: An argument does not fit, or the model needs operations that ONNX
            does not have.
    """
    write(Exportable(model, transform, class_names), os.fspath(path), Options())


def write(content: Exportable, path: str, options: Options) -> None:
    """As `convert_onnx`."""
    path = os.path.abspath(path)
    check_classifier(content)
    network = Classifier(content.model, fold=True, dtype="float32")
    converted = _convert(network, content.transform)
    entry = converted.metadata_props.add()
    entry.key = METADATA_FILE
    entry.value = json.dumps({**metadata(content), "input_type": "float32"})
    with (
        made_folder(os.path.dirname(path)),
        replaced(path) as temporary,
        open(temporary, "wb") as file,
    ):
        file.write(converted.SerializeToString())


def read_metadata(path: str) -> dict[str, Any]:
    """Reads what `convert_onnx` has kept among the file's own metadata.

    Raises:
        KeyError, OSError, ValueError: It has none.
        MissingPackageError: onnx is not installed.
    """
    from google.protobuf.message import DecodeError

    onnx = import_extra("onnx", "onnx", "onnx")
    try:
        properties = onnx.load(path).metadata_props
    except DecodeError as error:
        raise ValueError(str(error)) from error
    return json.loads({e.key: e.value for e in properties}[METADATA_FILE])


def load(path: str, threads: int) -> dict[str, Function]:
    """Loads a file into onnxruntime, on the CPU.

    Raises:
        MissingPackageError: onnxruntime is not installed.
    """
    onnxruntime = import_extra("onnxruntime", "onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {"images": images}), strict=True))

    return {DEFAULT: run}


def _convert(network: Classifier, transform: EvaluationTransform) -> Any:
    onnx, tf2onnx = _packages()

    def classify(images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = network(images)
        return {key: outputs[key] for key in ("logits", "probabilities")}

    side = transform.image_size
    spec = [tf.TensorSpec((None, side, side, 3), tf.float32, name="images")]
    handlers: dict[str, Any] = {
        name: (_resize, []) for name in ("ResizeBilinear", "ResizeNearestNeighbor")
    }
    converted, _ = tf2onnx.convert.from_function(
        tf.function(classify, input_signature=spec),
        input_signature=spec,
        opset=_OPSET,
        custom_op_handlers=handlers,
    )
    for value in (*converted.graph.input, *converted.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    try:
        onnx.checker.check_model(converted)
    except onnx.checker.ValidationError as error:
        raise ExportError(
            f"`model` needs operations that ONNX does not have: {error}"
        ) from error
    return converted


def _resize(context: Any, node: Any, name: str, _: Any) -> None:
    """Resizes to sides in pixels.

    The converter's own way is by a factor, which is rounded: of 3 pixels, 4.6666665
    makes 13 and not 14; and by a mode that newer opsets do not have.
    """
    attributes = {
        "axes": [2, 3],
        "coordinate_transformation_mode": "half_pixel",
        "mode": "linear",
    }
    if node.type == "ResizeNearestNeighbor":  # by whole factors, in an SA block
        attributes |= {
            "coordinate_transformation_mode": "asymmetric",
            "mode": "nearest",
            "nearest_mode": "floor",
        }
    sides = np.array(context.get_shape(node.output[0])[1:3], np.int64)
    sizes = context.make_const(f"{name}_sizes", sides)
    # ONNX has channels first.
    moved = context.make_node("Transpose", [node.input[0]], {"perm": [0, 3, 1, 2]})
    inputs = [moved.output[0], "", "", sizes.output[0]]
    resized = context.make_node("Resize", inputs, attributes)
    outputs = {
        "outputs": node.output,
        "shapes": node.output_shapes,
        "dtypes": node.output_dtypes,
    }
    context.remove_node(node.name)
    back = {"perm": [0, 2, 3, 1]}
    context.make_node("Transpose", resized.output, back, name=node.name, **outputs)


def _packages() -> tuple[ModuleType, ModuleType]:
    onnx, tf2onnx = (import_extra(n, "tf2onnx", "onnx") for n in ("onnx", "tf2onnx"))
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    return onnx, tf2onnx
