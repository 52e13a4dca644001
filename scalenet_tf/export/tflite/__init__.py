"""TFLite (LiteRT) files of core operations: float32, float16, dynamic range, int8."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from scalenet_tf.export.calibration import calibration_images
from scalenet_tf.export.classifier import Classifier, check_classifier
from scalenet_tf.export.interface import (
    Exportable,
    ExportError,
    FileOptions,
    Function,
    InputType,
)
from scalenet_tf.export.metadata import append_metadata, metadata, read_appended
from scalenet_tf.export.requests import DEFAULT, in_parts
from scalenet_tf.export.tflite.standard_metadata import (
    LABELS_FILE,
    METADATA_NAME,
    label_lines,
    standard_metadata,
)
from scalenet_tf.extras import import_extra
from scalenet_tf.files import made_folder, replaced
from scalenet_tf.preprocessing import EvaluationTransform, preprocess_input

Quantization = Literal["none", "float16", "dynamic", "int8"]

# In the order of the file: clients that take one output take the first.
OUTPUTS = ("probabilities", "logits")

read_metadata = read_appended


@dataclasses.dataclass(frozen=True)
class Options(FileOptions):
    """Options of a TFLite file, as `convert_tflite` takes them."""

    CALIBRATED = ("quantization", "int8")

    quantization: Quantization = "none"

    @property
    def label(self) -> str:
        """How the weights are kept."""
        return f"-{'float32' if self.quantization == 'none' else self.quantization}"


def convert_tflite(
    model: keras.Model,
    path: str | os.PathLike[str],
    transform: EvaluationTransform,
    class_names: Sequence[str],
    *,
    quantization: Quantization = Options.quantization,
    input_type: InputType = Options.input_type,
    calibration: Iterable[Any] | None = None,
    temperature: float = 1.0,
) -> None:
    """Writes a model as a TFLite file of TFLite's own operations, for one image.

    The file has one signature: input `images`, `(1, image_size, image_size, 3)`;
    outputs `probabilities` and `logits`, float32; its tensors have these names too.
    Batch norms are folded; a model of 16-bit computations is converted to float32
    first. `read_metadata` gives the class names and the normalisation that are kept in
    the file; TFLite's standard metadata say the same to MediaPipe.

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
        temperature: What logits are divided by for `probabilities`.

    Raises:
        OSError: The file cannot be written; what was there is left as it was.
        ExportError: An argument does not fit, or the model needs operations that are
            not TFLite's.
    """
    content = Exportable(
        *(model, transform, class_names),
        calibration=calibration,
        temperature=temperature,
    )
    options = Options(quantization=quantization, input_type=input_type)
    write(content, os.fspath(path), options)


def write(content: Exportable, path: str, options: Options) -> None:
    """As `convert_tflite`."""
    path = os.path.abspath(path)
    check_classifier(content)
    _check_calibration(content, options)
    converted = _described(_convert(_converter(content, options)), content, options)
    operations = _operations(converted)
    if "CUSTOM" in operations:  # the converter refuses them: it was not asked to allow
        raise ExportError("`model` needs operations that are not TFLite's own.")
    details = {
        **metadata(content),
        **dataclasses.asdict(options),
        "operations": sorted(operations),
    }
    with made_folder(os.path.dirname(path)), replaced(path) as temporary:
        with open(temporary, "wb") as file:
            file.write(converted)
        labels = {LABELS_FILE: label_lines(content.class_names)}
        append_metadata(temporary, details, labels)


def load(path: str, threads: int) -> dict[str, Function]:
    """Loads a file into LiteRT. Images run one by one.

    Raises:
        MissingPackageError: ai-edge-litert is not installed.
    """
    litert = import_extra("ai_edge_litert.interpreter", "ai-edge-litert", "export")
    interpreter = litert.Interpreter(path, num_threads=threads)
    run = interpreter.get_signature_runner(DEFAULT)
    return {DEFAULT: in_parts(lambda image: run(images=image), lambda images: 1)}


def _converter(content: Exportable, options: Options) -> tf.lite.TFLiteConverterV2:
    network = Classifier(
        content.model, fold=True, dtype="float32", temperature=content.temperature
    )
    transform, quantization = content.transform, options.quantization
    takes_pixels = options.takes_pixels
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


def _described(converted: bytes, content: Exportable, options: Options) -> bytes:
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
    normalization = "none" if options.takes_pixels else content.transform.normalization
    standard = standard_metadata(content.model.name, normalization, OUTPUTS)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(standard, np.uint8)
    entry.name, entry.buffer = METADATA_NAME, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata.append(entry)
    return flatbuffer_utils.convert_object_to_bytearray(model)


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


def _check_calibration(content: Exportable, options: Options) -> None:
    if options.needs_calibration != (content.calibration is not None):
        raise ExportError(
            "`calibration` must be given for quantization='int8' and for no other. "
            f"Received: quantization={options.quantization!r}, calibration="
            f"{'None' if content.calibration is None else 'images'}."
        )
