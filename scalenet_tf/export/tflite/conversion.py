"""A model as TFLite's own converter gives it, with names and standard metadata."""

from __future__ import annotations

import errno
import re
import warnings
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from scalenet_tf.export.calibration import calibration_images
from scalenet_tf.export.classifier import Classifier
from scalenet_tf.export.interface import Exportable, ExportError
from scalenet_tf.export.tflite.standard_metadata import (
    METADATA_NAME,
    standard_metadata,
)
from scalenet_tf.preprocessing import preprocess_input

# In the order of the file: clients that take one output take the first.
OUTPUTS = ("probabilities", "logits")


def convert(content: Exportable, quantization: str, takes_pixels: bool) -> bytes:
    """The content of a TFLite file, without the metadata of this package.

    Args:
        content: What is written.
        quantization: As `convert_tflite` takes it.
        takes_pixels: Whether the model normalises.

    Raises:
        OSError: The disk is full.
        ExportError: The model needs operations that are not TFLite's.
    """
    converter = _converter(content, quantization, takes_pixels)
    return _described(_converted(converter), content, takes_pixels)


def _converter(
    content: Exportable, quantization: str, takes_pixels: bool
) -> tf.lite.TFLiteConverterV2:
    network = Classifier(
        content.model, fold=True, dtype="float32", temperature=content.temperature
    )
    transform = content.transform
    side = transform.image_size
    # A fully quantised graph is quantised from one that takes floating pixels.
    dtype = tf.uint8 if takes_pixels and quantization != "int8" else tf.float32

    def classify(images: tf.Tensor) -> dict[str, tf.Tensor]:
        if takes_pixels:
            images = tf.cast(images, tf.float32)  # whatever Keras' float type is
            images = preprocess_input(images, transform.normalization)
        outputs = network(images)
        return {key: outputs[key] for key in OUTPUTS}

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
        converter.representative_dataset = lambda: _representative_dataset(
            content, takes_pixels
        )
    return converter


def _converted(converter: tf.lite.TFLiteConverterV2) -> bytes:
    from tensorflow.lite.python.convert_phase import ConverterError

    try:
        with warnings.catch_warnings():
            # It calibrates with an interpreter that warns of its own age.
            warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated")
            return converter.convert()
    except ConverterError as error:
        others = re.findall("(?:Custom|Flex) ops: (.*)", str(error))
        reason = ", ".join(others) or str(error)
        raise ExportError(
            f"`model` needs operations that are not TFLite's own: {reason}."
        ) from error


def _representative_dataset(
    content: Exportable, takes_pixels: bool
) -> Iterator[dict[str, np.ndarray]]:
    transform = content.transform
    for index, image in enumerate(
        calibration_images(content.calibration or (), transform)
    ):
        if takes_pixels:
            image = transform.pixels(image)
            if not index:  # so that the scale is 1 and a pixel is its own quantum
                image[0, 0], image[-1, -1] = 0, 255
        yield {"images": image[np.newaxis].astype(np.float32)}


def _described(converted: bytes, content: Exportable, takes_pixels: bool) -> bytes:
    """The model with the names of its signature for tensors, and standard metadata."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(converted))
    # The converter does not notice that its disk is full.
    if not (model.subgraphs and model.signatureDefs):
        raise OSError(errno.ENOSPC, "no space for the temporary files of TFLite")
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    for entry in (*signature.inputs, *signature.outputs):
        graph.tensors[entry.tensorIndex].name = entry.name
    places = {entry.name.decode(): entry.tensorIndex for entry in signature.outputs}
    graph.outputs = [places[name] for name in OUTPUTS]
    # A pixel is its own quantum where pixels are taken.
    normalization = "none" if takes_pixels else content.transform.normalization
    standard = standard_metadata(content.model.name, normalization, OUTPUTS)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(standard, np.uint8)
    entry.name, entry.buffer = METADATA_NAME, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata.append(entry)
    return flatbuffer_utils.convert_object_to_bytearray(model)


def operations(content: bytes) -> set[str]:
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
