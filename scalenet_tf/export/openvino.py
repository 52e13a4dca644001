"""OpenVINO's intermediate representation, for the processors that it knows.

A folder with `model.xml`, `model.bin` and the metadata. The network is that of the ONNX
format, which OpenVINO reads.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scalenet_tf.export.interface import (
    DEFAULT,
    SCORES,
    Exportable,
    FileOptions,
    Function,
    InputType,
)
from scalenet_tf.export.metadata import METADATA_FILE, as_text, metadata
from scalenet_tf.export.onnx import onnx_model
from scalenet_tf.extras import import_extra
from scalenet_tf.files import made_folder, read_json, replaced
from scalenet_tf.preprocessing import EvaluationTransform

if TYPE_CHECKING:
    import keras

MODEL_FILE = "model.xml"


@dataclasses.dataclass(frozen=True)
class Options(FileOptions):
    """Options of an OpenVINO model, as `convert_openvino` takes them."""


def convert_openvino(
    model: keras.Model,
    directory: str | os.PathLike[str],
    transform: EvaluationTransform,
    class_names: Sequence[str],
    *,
    input_type: InputType = Options.input_type,
    temperature: float = 1.0,
) -> None:
    """Writes a model in OpenVINO's intermediate representation, in float32.

    Input and outputs are those of `convert_onnx`. The folder appears in one step.

    Args:
        model: A network of this package with its top.
        directory: Where to write; must not exist.
        transform: What evaluation does to an image.
        class_names: Names of the classes, in the order of the logits.
        input_type: As for `convert_onnx`.
        temperature: As for `convert_onnx`.

    Raises:
        FileExistsError: `directory` exists.
        MissingPackageError: openvino or onnx is not installed.
        OSError: The folder cannot be written; nothing is left behind.
        ExportError: An argument does not fit, or the model has a layer for which there
            is no ONNX here.
    """
    path = os.path.abspath(os.fspath(directory))
    if os.path.lexists(path):
        raise FileExistsError(f"`directory` must not exist. Received: {path!r}.")
    content = Exportable(model, transform, class_names, temperature=temperature)
    write(content, path, Options(input_type))


def write(content: Exportable, path: str, options: Options) -> None:
    """As `convert_openvino`."""
    path = os.path.abspath(path)
    openvino = import_extra("openvino", "openvino", "openvino")
    network = onnx_model(content, options).SerializeToString()
    converted = openvino.Core().read_model(model=network)
    details = {**metadata(content), **dataclasses.asdict(options)}
    with made_folder(os.path.dirname(path)), replaced(path) as temporary:
        os.mkdir(temporary)
        file = os.path.join(temporary, MODEL_FILE)
        openvino.save_model(converted, file, compress_to_fp16=False)
        with open(os.path.join(temporary, METADATA_FILE), "w", encoding="utf-8") as out:
            out.write(as_text(details))


def read_metadata(path: str) -> dict[str, Any]:
    """Reads what `convert_openvino` has kept beside the model.

    Raises:
        OSError, ValueError: There is nothing of it.
    """
    return read_json(os.path.join(path, METADATA_FILE))


def load(path: str, threads: int) -> dict[str, Function]:
    """Loads a folder into OpenVINO, on the CPU, which computes in float32.

    Raises:
        MissingPackageError: openvino is not installed.
    """
    openvino = import_extra("openvino", "openvino", "openvino")
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    file = os.path.join(path, MODEL_FILE)
    model = openvino.Core().compile_model(file, "CPU", settings)

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        results = model({"images": images})
        return {name: results[name] for name in SCORES}

    return {DEFAULT: run}
