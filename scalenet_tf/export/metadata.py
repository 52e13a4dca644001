"""What a client must know of an exported model, as JSON kept with it.

In a SavedModel it is the file `assets.extra/scalenet.json`. A TFLite file has it as a
member of a zip archive at its end, as TFLite's own associated files are kept: the
interpreter passes over it, `unzip model.tflite scalenet.json` gives it. An ONNX file
has it among its own metadata, under the same name.
"""

from __future__ import annotations

import json
import reprlib
import typing
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

from scalenet_tf._version import __version__
from scalenet_tf.architectures import MAX_SIDE
from scalenet_tf.export.interface import Exportable, InputType
from scalenet_tf.files import MAX_BYTES, parse_json, unreadable
from scalenet_tf.preprocessing import STATISTICS, EvaluationTransform

METADATA_FILE = "scalenet.json"


def _is_side(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_SIDE


NAMES = "a list of names"


def are_names(value: Any) -> bool:
    """Whether a value is names of classes, as text that every runtime can read."""
    if not isinstance(value, list) or not value:
        return False
    # Half of a surrogate pair is no text to a runtime.
    return all(
        isinstance(n, str) and n == n.encode(errors="replace").decode() for n in value
    )


def _are_sides(value: Any) -> bool:
    sides = value if isinstance(value, list) and len(value) == 2 else ["none"]
    return all(side is None or _is_side(side) for side in sides)


TEMPERATURE = "a number from 0.01 to 100"


def is_temperature(value: Any) -> bool:
    """Whether logits can be divided by a value; NaN is none."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0.01 <= value <= 100


_SIDE = f"a number of pixels from 1 to {MAX_SIDE}"
_STATISTICS, _INPUT_TYPES = tuple(STATISTICS), typing.get_args(InputType)
# Field -> what it must be, in words and as a function. Others are for information.
_REQUIRED: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "image_size": (_SIDE, _is_side),
    "resize": (_SIDE, _is_side),
    "normalization": (f"one of {_STATISTICS}", _STATISTICS.__contains__),
    "class_names": (NAMES, are_names),
}
_OPTIONAL: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "image_sides": (f"two times {_SIDE}, or null", _are_sides),
    "smallest_side": (_SIDE, _is_side),
    "temperature": (TEMPERATURE, is_temperature),
    "input_type": (f"one of {_INPUT_TYPES}", _INPUT_TYPES.__contains__),
}


def check_metadata(content: Any) -> dict[str, Any]:
    """Checks what was read from a file, and gives it.

    Raises:
        ValueError: A field is missing or of another kind; the message names it.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{METADATA_FILE} must be an object")
    for field, (rule, holds) in {**_REQUIRED, **_OPTIONAL}.items():
        if field not in content and field in _REQUIRED:
            raise ValueError(f"{METADATA_FILE} has no field {field!r}")
        if field in content and not holds(content[field]):
            received = reprlib.repr(content[field])
            raise ValueError(
                f"the field {field!r} of {METADATA_FILE} must be {rule}. Received: "
                f"{received}"
            )
    size, sides = content["image_size"], content.get("image_sides")
    if {*(sides or ())} - {None, size} or content.get("smallest_side", 1) > size:
        raise ValueError(
            f"the fields 'image_sides' and 'smallest_side' of {METADATA_FILE} must "
            f"allow its image_size of {size}"
        )
    transform_of(content)
    return content


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
        "temperature": content.temperature,
    }


def transform_of(content: Mapping[str, Any]) -> EvaluationTransform:
    """The transform that metadata describe."""
    return EvaluationTransform(
        content["image_size"], content["resize"], content["normalization"]
    )


def as_text(content: Mapping[str, Any]) -> str:
    """Metadata as they are kept."""
    return json.dumps(content, indent=1, ensure_ascii=False)


def append_metadata(
    path: str, content: Mapping[str, Any], others: Mapping[str, str] | None = None
) -> None:
    """Writes metadata to the end of a file, as a zip archive or into one.

    Args:
        path: The file.
        content: The metadata.
        others: Name -> text of other files in the archive.
    """
    with zipfile.ZipFile(path, "a") as archive:
        for name, text in {METADATA_FILE: as_text(content), **(others or {})}.items():
            archive.writestr(name, text)


def read_appended(path: str) -> dict[str, Any]:
    """Reads what `append_metadata` wrote.

    Raises:
        ValueError: There is nothing of it.
    """
    with (
        unreadable("its end cannot be read"),
        zipfile.ZipFile(path) as archive,
        archive.open(METADATA_FILE) as file,
    ):
        return parse_json(file.read(MAX_BYTES + 1))
