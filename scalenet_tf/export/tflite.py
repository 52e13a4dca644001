"""TFLite (LiteRT) files of core operations: float32, float16, dynamic range, int8."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, get_args

import keras
import numpy as np
import tensorflow as tf

from scalenet_tf.export.calibration import calibration_images
from scalenet_tf.export.classifier import Classifier, check_classifier
from scalenet_tf.export.metadata import metadata, write_metadata
from scalenet_tf.files import made_folder, replaced
from scalenet_tf.preprocessing import EvaluationTransform, preprocess_input

Quantization = Literal["none", "float16", "dynamic", "int8"]
InputType = Literal["float32", "uint8"]


def convert_tflite(
    model: keras.Model,
    path: str | os.PathLike[str],
    transform: EvaluationTransform,
    class_names: Sequence[str],
    *,
    quantization: Quantization = "none",
    input_type: InputType = "float32",
    calibration: Iterable[Any] | None = None,
) -> None:
    """Writes a model as a TFLite file of TFLite's own operations, for one image.

    The file has one signature: input `images`, `(1, image_size, image_size, 3)`;
    outputs `logits` and `probabilities`, float32. Batch norms are folded; a model of
    16-bit computations is converted to float32 first. `read_metadata` gives the class
    names and the normalisation that are kept in the file.

    Args:
        model: A network of this package with its top.
        path: Where to write; a file that is there is replaced in one step.
        transform: What evaluation does to an image.
        class_names: Names of the classes, in the order of the logits.
        quantization: `"none"`; `"float16"`, weights of half the size; `"dynamic"`,
            weights of int8; `"int8"`, weights and computations of int8.
        input_type: `"float32"`: images as `preprocess_input` leaves them. `"uint8"`:
            pixels from 0 to 255, normalised inside; they are resized and cropped
            before in both cases.
        calibration: For `"int8"`: batches of images as `preprocess_input` leaves them,
            which show the range of the activations; a hundred images or more. Gone
            through once. Others, such as pixels from 0 to 255 or from 0 to 1, are
            refused: the file would give the answers of another network.

    Raises:
        OSError: The file cannot be written; what was there is left as it was.
        ValueError: An argument does not fit, or the model needs operations that are
            not TFLite's.
    """
    path = os.path.abspath(os.fspath(path))
    check_classifier(model, transform, class_names)
    _check_options(quantization, input_type, calibration)
    converter = _converter(model, transform, quantization, input_type)
    if calibration is not None:
        converter.representative_dataset = lambda: _representative_dataset(
            calibration, transform, input_type
        )
    content = _convert(converter)
    operations = _operations(content)
    if "CUSTOM" in operations:  # the converter refuses them: it was not asked to allow
        raise ValueError("`model` needs operations that are not TFLite's own.")
    details = {
        **metadata(model, transform, class_names),
        "quantization": quantization,
        "input_type": input_type,
        "operations": sorted(operations),
    }
    with made_folder(os.path.dirname(path)), replaced(path) as temporary:
        with open(temporary, "wb") as file:
            file.write(content)
        write_metadata(temporary, details)


def _converter(
    model: keras.Model,
    transform: EvaluationTransform,
    quantization: Quantization,
    input_type: InputType,
) -> tf.lite.TFLiteConverterV2:
    network = Classifier(model, fold=True, dtype="float32")
    takes_pixels = input_type == "uint8"
    side = transform.image_size
    # A fully quantised graph is quantised from one that takes floating pixels.
    dtype = tf.uint8 if takes_pixels and quantization != "int8" else tf.float32

    def classify(images: tf.Tensor) -> dict[str, tf.Tensor]:
        if takes_pixels:
            images = tf.cast(images, tf.float32)  # whatever Keras' float type is
            images = preprocess_input(images, transform.normalization)
        outputs = network(images)
        return {key: outputs[key] for key in ("logits", "probabilities")}

    spec = tf.TensorSpec((1, side, side, 3), dtype, name="images")
    function = tf.function(classify, input_signature=[spec]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], network)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantization != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantization == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8 if takes_pixels else tf.float32
    return converter


def _convert(converter: tf.lite.TFLiteConverterV2) -> bytes:
    from tensorflow.lite.python.convert_phase import ConverterError

    try:
        with warnings.catch_warnings():
            # It calibrates with an interpreter that warns of its own age.
            warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated")
            return converter.convert()
    except ConverterError as error:
        others = re.findall("(?:Custom|Flex) ops: (.*)", str(error))
        reason = ", ".join(others) or str(error)
        raise ValueError(
            f"`model` needs operations that are not TFLite's own: {reason}."
        ) from error


def _representative_dataset(
    batches: Iterable[Any], transform: EvaluationTransform, input_type: InputType
) -> Iterator[dict[str, np.ndarray]]:
    for index, image in enumerate(calibration_images(batches, transform)):
        if input_type == "uint8":
            image = transform.pixels(image)
            if not index:  # so that the scale is 1 and a pixel is its own quantum
                image[0, 0], image[-1, -1] = 0, 255
        yield {"images": image[np.newaxis].astype(np.float32)}


def _operations(content: bytes) -> set[str]:
    """Names of the operations of a TFLite file."""
    from tensorflow.lite.python import schema_py_generated as schema

    names = {
        number: name
        for name, number in vars(schema.BuiltinOperator).items()
        if not name.startswith("_")
    }
    file = schema.Model.GetRootAsModel(content, 0)
    codes = [file.OperatorCodes(index) for index in range(file.OperatorCodesLength())]
    # Numbers up to 127 may be in the older field alone.
    return {
        names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())] for code in codes
    }


def _check_options(
    quantization: str, input_type: str, calibration: Iterable[Any] | None
) -> None:
    if quantization not in get_args(Quantization):
        raise ValueError(
            f"`quantization` must be one of {get_args(Quantization)}. "
            f"Received: quantization={quantization!r}."
        )
    if input_type not in get_args(InputType):
        raise ValueError(
            f"`input_type` must be one of {get_args(InputType)}. "
            f"Received: input_type={input_type!r}."
        )
    if (quantization == "int8") != (calibration is not None):
        raise ValueError(
            "`calibration` must be given for quantization='int8' and for no other. "
            f"Received: quantization={quantization!r}, calibration="
            f"{'None' if calibration is None else 'images'}."
        )
