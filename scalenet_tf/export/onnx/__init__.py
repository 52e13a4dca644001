"""ONNX files, for onnxruntime and other runtimes that are not TensorFlow's."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scalenet_tf.export.interface import (
    DEFAULT,
    SCORES,
    Exportable,
    ExportError,
    FileOptions,
    Function,
    InputType,
)
from scalenet_tf.export.metadata import METADATA_FILE, metadata
from scalenet_tf.extras import import_extra
from scalenet_tf.files import made_folder, parse_json, replaced
from scalenet_tf.names import HEAD
from scalenet_tf.preprocessing import EvaluationTransform

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class Options(FileOptions):
    """Options of an ONNX file, as `convert_onnx` takes them."""


def convert_onnx(
    model: keras.Model,
    path: str | os.PathLike[str],
    transform: EvaluationTransform,
    class_names: Sequence[str],
    *,
    input_type: InputType = Options.input_type,
    temperature: float = 1.0,
) -> None:
    """Writes a model as an ONNX file of opset 18.

    Input `images`, `(batch, image_size, image_size, 3)`; outputs `logits` and
    `probabilities`, float32. Batch norms are folded; a model of 16-bit computations is
    converted to float32 first. `read_metadata` gives the class names and the
    normalisation, which the file keeps as metadata.

    Args:
        model: A network of this package with its top.
        path: Where to write; a file that is there is replaced in one step.
        transform: What evaluation does to an image.
        class_names: Names of the classes, in the order of the logits.
        input_type: `"float32"`: images as `preprocess_input` leaves them. `"uint8"`:
            pixels from 0 to 255, normalised inside; they are resized and cropped
            before in both cases.
        temperature: What logits are divided by for `probabilities`.

    Raises:
        MissingPackageError: onnx is not installed.
        OSError: The file cannot be written; what was there is left as it was.
        ExportError: An argument does not fit, or the model has a layer for which there
            is no ONNX here.
    """
    content = Exportable(model, transform, class_names, temperature=temperature)
    write(content, os.fspath(path), Options(input_type))


def write(content: Exportable, path: str, options: Options) -> None:
    """As `convert_onnx`."""
    path = os.path.abspath(path)
    if not path.endswith(".onnx"):  # by which such a file is known
        raise ExportError(f"`path` must end with '.onnx'. Received: {path!r}.")
    converted = onnx_model(content, options)
    with (
        made_folder(os.path.dirname(path)),
        replaced(path) as temporary,
        open(temporary, "wb") as file,
    ):
        file.write(converted.SerializeToString())


def onnx_model(content: Exportable, options: FileOptions) -> Any:
    """The ONNX model (an `onnx.ModelProto`) that `convert_onnx` writes.

    Raises:
        MissingPackageError: onnx is not installed.
        ExportError: As for `convert_onnx`.
    """
    import_extra("onnx", "onnx", "onnx")
    from scalenet_tf.export.checking import check_classifier
    from scalenet_tf.export.onnx.graph import onnx_graph

    check_classifier(content)
    network, transform = _network(content), content.transform
    inside = transform.normalization if options.takes_pixels else None
    try:
        model = onnx_graph(network, SCORES, transform.image_size, inside)
    except ValueError as error:
        raise ExportError(str(error)) from error
    entry = model.metadata_props.add()
    entry.key = METADATA_FILE
    entry.value = json.dumps({**metadata(content), **dataclasses.asdict(options)})
    return model


def _network(content: Exportable) -> keras.Model:
    """Logits and probabilities, in float32, without batch norms."""
    import keras

    from scalenet_tf.export.classifier import folded

    network = folded(content.model, "float32")
    logits, last = network.get_layer(HEAD).output, network.outputs[0]
    if content.temperature != 1:
        scaled = keras.layers.Rescaling(1 / content.temperature, name="temperature")
        last = keras.layers.Activation("softmax", name="calibrated")(scaled(logits))
    elif last is logits:
        last = keras.layers.Activation("softmax", name="predictions")(logits)
    return keras.Model(network.inputs[0], [logits, last], name=content.model.name)


def read_metadata(path: str) -> dict[str, Any]:
    """Reads what `convert_onnx` has kept among the file's own metadata.

    Raises:
        Exception: It has none, or cannot be read.
        MissingPackageError: onnx is not installed.
    """
    onnx = import_extra("onnx", "onnx", "onnx")
    # No other files, of which an ONNX file can name any.
    properties = onnx.load(path, load_external_data=False).metadata_props
    return parse_json({e.key: e.value for e in properties}[METADATA_FILE])


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

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        values = session.run(list(SCORES), {"images": images})
        return dict(zip(SCORES, values, strict=True))

    return {DEFAULT: run}
