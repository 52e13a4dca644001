"""The standard metadata of a TFLite file, by which MediaPipe and others run it.

A flatbuffer of `metadata_schema.fbs` (as of version 1.0.0; MediaPipe has it) among the
buffers of the model. It says how images are normalised and names the file of labels,
which is in the zip archive at the end of the TFLite file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np

from scalenet_tf.preprocessing import STATISTICS

LABELS_FILE = "labels.txt"
METADATA_NAME = "TFLITE_METADATA"

# A table is a tuple of its fields in the order of the schema, as far as they are
# needed; `None` is a field that is not there. Whole numbers are bytes: enumerations.
_Table = tuple[Any, ...]

_IDENTIFIER, _PARSER_VERSION = b"M001", "1.0.0"
_RGB = 1
_TENSOR_AXIS_LABELS = 2
_IMAGE_PROPERTIES, _FEATURE_PROPERTIES = 2, 1  # of the union ContentProperties
_NORMALIZATION_OPTIONS = 1  # of the union ProcessUnitOptions


def standard_metadata(name: str, normalization: str, outputs: Sequence[str]) -> bytes:
    """The flatbuffer of a classifier of RGB images.

    Args:
        name: Of the model.
        normalization: Statistics of its input, as for `preprocess_input`.
        outputs: Names of the outputs, which all have the labels of `LABELS_FILE`.
    """
    content = (_IMAGE_PROPERTIES, (_RGB,))
    statistics = tuple(
        [255 * value for value in part] for part in STATISTICS[normalization]
    )
    unit = (_NORMALIZATION_OPTIONS, statistics)
    image = ("images", "RGB, of the size of the tensor", None, content, [unit])
    labels = (LABELS_FILE, "one class name per line", _TENSOR_AXIS_LABELS)
    classes = [
        (output, None, None, (_FEATURE_PROPERTIES, ()), None, None, [labels])
        for output in outputs
    ]
    subgraph = (None, None, [image], classes)
    model = (name, None, None, [subgraph], None, None, None, _PARSER_VERSION)
    builder = flatbuffers.Builder(0)
    builder.Finish(_written(builder, model), _IDENTIFIER)
    return bytes(builder.Output())


def label_lines(class_names: Sequence[str]) -> str:
    """The content of `LABELS_FILE`: a line for each class, whatever its name."""
    return "".join(f"{' '.join(name.splitlines())}\n" for name in class_names)


def _written(builder: flatbuffers.Builder, value: Any) -> int:
    """Writes a table, a vector or a string; its offset."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, tuple):
        return _table(builder, value)
    if isinstance(value[0], float):
        return builder.CreateNumpyVector(np.array(value, np.float32))
    offsets = [_written(builder, entry) for entry in value]
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _table(builder: flatbuffers.Builder, fields: _Table) -> int:
    # Whatever a table refers to comes before it.
    values = [
        field if isinstance(field, int) or field is None else _written(builder, field)
        for field in fields
    ]
    builder.StartObject(len(fields))
    for slot, (field, value) in enumerate(zip(fields, values, strict=True)):
        if isinstance(field, int):
            builder.PrependUint8Slot(slot, value, 0)
        elif value is not None:
            builder.PrependUOffsetTRelativeSlot(slot, value, 0)
    return builder.EndObject()
