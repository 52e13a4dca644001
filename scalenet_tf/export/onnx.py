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
from scalenet_tf.export.metadata import METADATA_FILE, metadata
from scalenet_tf.files import made_folder, replaced
from scalenet_tf.preprocessing import EvaluationTransform

_OPSET = 18  # the first whose Resize takes the sizes of some axes alone


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
        ImportError: tf2onnx is not installed.
        OSError: The file cannot be written; what was there is left as it was.
        ValueError: An argument does not fit, or the model needs operations that ONNX
            does not have.
    """
    path = os.path.abspath(os.fspath(path))
    check_classifier(model, transform, class_names)
    converted = _convert(Classifier(model, fold=True, dtype="float32"), transform)
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


def _convert(network: Classifier, transform: EvaluationTransform) -> Any:
    onnx, tf2onnx = _packages()

    def classify(images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = network(images)
        return {key: outputs[key] for key in ("logits", "probabilities")}

    side = transform.image_size
    spec = [tf.TensorSpec((None, side, side, 3), tf.float32, name="images")]
    handlers = {
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
        raise ValueError(
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
    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise ImportError(
            "ONNX files need the package tf2onnx: pip install 'scalenet_tf[onnx]'."
        ) from error
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    return onnx, tf2onnx
