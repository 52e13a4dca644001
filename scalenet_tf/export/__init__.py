"""Models for servers and devices: SavedModel, TFLite (LiteRT), ONNX, OpenVINO.

Needs `pip install 'scalenet_tf[export]'` for warm-up requests and for running TFLite
files, `'scalenet_tf[onnx]'` for ONNX and `'scalenet_tf[openvino]'` for OpenVINO;
everything else needs TensorFlow alone, by which Keras has to compute.
`FORMATS` is the table of the formats; `docs/export.md` says how to add one. What writes
and verifies is imported when it is first asked for: running a TFLite, an ONNX or an
OpenVINO file needs no TensorFlow.
"""

from typing import TYPE_CHECKING

from scalenet_tf.export.formats import (
    FORMATS,
    ExportFormat,
    find_exported,
    next_version,
)
from scalenet_tf.export.interface import Exportable, ExportError, FormatOptions
from scalenet_tf.export.runtime import Exported, open_exported, read_metadata
from scalenet_tf.extras import deferred

if TYPE_CHECKING:
    from scalenet_tf.export.onnx import convert_onnx
    from scalenet_tf.export.openvino import convert_openvino
    from scalenet_tf.export.savedmodel import save_savedmodel
    from scalenet_tf.export.tflite import convert_tflite
    from scalenet_tf.export.verification import (
        BOUNDS,
        Verification,
        verify,
        verify_onnx,
        verify_savedmodel,
        verify_tflite,
    )
else:
    _MODULES = {
        "scalenet_tf.export.onnx": ("convert_onnx",),
        "scalenet_tf.export.openvino": ("convert_openvino",),
        "scalenet_tf.export.savedmodel": ("save_savedmodel",),
        "scalenet_tf.export.tflite": ("convert_tflite",),
        "scalenet_tf.export.verification": (
            *("BOUNDS", "Verification", "verify"),
            *("verify_onnx", "verify_savedmodel", "verify_tflite"),
        ),
    }
    __getattr__ = deferred(__name__, _MODULES, by_tensorflow=_MODULES)

__all__ = [
    "BOUNDS",
    "FORMATS",
    "ExportError",
    "ExportFormat",
    "Exportable",
    "Exported",
    "FormatOptions",
    "Verification",
    "convert_onnx",
    "convert_openvino",
    "convert_tflite",
    "find_exported",
    "next_version",
    "open_exported",
    "read_metadata",
    "save_savedmodel",
    "verify",
    "verify_onnx",
    "verify_savedmodel",
    "verify_tflite",
]
