"""What a client must know of an exported model, as JSON kept with it.

In a SavedModel it is the file `assets.extra/scalenet.json`. A TFLite file has it as a
member of a zip archive at its end, as TFLite's own associated files are kept: the
interpreter passes over it, `unzip model.tflite scalenet.json` gives it. An ONNX file
has it among its own metadata, under the same name.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from scalenet_tf._version import __version__
from scalenet_tf.preprocessing import STATISTICS, EvaluationTransform

METADATA_FILE = "scalenet.json"
EXTRA_ASSETS = "assets.extra"


def metadata(
    model: keras.Model, transform: EvaluationTransform, class_names: Sequence[str]
) -> dict[str, Any]:
    """The entries that all formats have."""
    mean, deviation = STATISTICS[transform.normalization]
    return {
        "name": model.name,
        "scalenet_tf": __version__,
        "image_size": transform.image_size,
        "resize": transform.resize,
        "normalization": transform.normalization,
        # of pixels from 0 to 1
        "mean": list(mean),
        "standard_deviation": list(deviation),
        "class_names": list(class_names),
    }


def transform_of(content: Mapping[str, Any]) -> EvaluationTransform:
    """The transform that metadata describe."""
    return EvaluationTransform(
        content["image_size"], content["resize"], content["normalization"]
    )


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what was kept with an exported model.

    Args:
        path: The folder of a SavedModel, a TFLite file, or an `.onnx` file.

    Returns:
        `name`, `image_size`, `resize`, `normalization`, `mean`, `standard_deviation`,
        `class_names`, and entries of the format.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ImportError: An ONNX file needs onnx, which is not installed.
        ValueError: It was not exported by this package.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"no exported model at {path!r}.")
    try:
        if os.path.isdir(path):
            with open(
                os.path.join(path, EXTRA_ASSETS, METADATA_FILE), encoding="utf-8"
            ) as file:
                return json.load(file)
        if path.endswith(".onnx"):
            return json.loads(_onnx_properties(path)[METADATA_FILE])
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(METADATA_FILE))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path!r} was not exported by scalenet_tf: it has no {METADATA_FILE} "
            f"({error})."
        ) from error


def _onnx_properties(path: str) -> dict[str, str]:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise ImportError(
            "reading an ONNX file needs the package onnx: "
            "pip install 'scalenet_tf[onnx]'."
        ) from error
    try:
        properties = onnx.load(path).metadata_props
    except DecodeError as error:
        raise ValueError(str(error)) from error
    return {entry.key: entry.value for entry in properties}


def write_metadata(path: str, content: Mapping[str, Any]) -> None:
    """Writes metadata into the folder of a SavedModel or to the end of a file."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    if os.path.isdir(path):
        folder = os.path.join(path, EXTRA_ASSETS)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, METADATA_FILE), "w", encoding="utf-8") as file:
            file.write(text)
        return
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA_FILE, text)
