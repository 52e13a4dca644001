"""What a client must know of an exported model, as JSON kept with it.

In a SavedModel it is the file `assets.extra/scalenet.json`. A TFLite file has it as a
member of a zip archive at its end, as TFLite's own associated files are kept: the
interpreter passes over it, `unzip model.tflite scalenet.json` gives it. An ONNX file
has it among its own metadata, under the same name.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from typing import Any

from scalenet_tf._version import __version__
from scalenet_tf.export.interface import Exportable
from scalenet_tf.preprocessing import STATISTICS, EvaluationTransform

METADATA_FILE = "scalenet.json"


def metadata(content: Exportable) -> dict[str, Any]:
    """The entries that all formats have."""
    transform = content.transform
    mean, deviation = STATISTICS[transform.normalization]
    return {
        "name": content.model.name,
        "scalenet_tf": __version__,
        "image_size": transform.image_size,
        "resize": transform.resize,
        "normalization": transform.normalization,
        # of pixels from 0 to 1
        "mean": list(mean),
        "standard_deviation": list(deviation),
        "class_names": list(content.class_names),
    }


def transform_of(content: Mapping[str, Any]) -> EvaluationTransform:
    """The transform that metadata describe."""
    return EvaluationTransform(
        content["image_size"], content["resize"], content["normalization"]
    )


def as_text(content: Mapping[str, Any]) -> str:
    """Metadata as they are kept."""
    return json.dumps(content, indent=1, ensure_ascii=False)


def append_metadata(path: str, content: Mapping[str, Any]) -> None:
    """Writes metadata to the end of a file, as a zip archive or into one."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA_FILE, as_text(content))


def read_appended(path: str) -> dict[str, Any]:
    """Reads what `append_metadata` wrote.

    Raises:
        KeyError, OSError, ValueError: There is nothing of it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(METADATA_FILE))
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from error
