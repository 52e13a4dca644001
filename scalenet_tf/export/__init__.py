"""Models for servers and devices: SavedModel with signatures, and TFLite (LiteRT).

Needs `pip install 'scalenet_tf[export]'` for warm-up requests and for verifying TFLite
files; everything else needs TensorFlow alone.
"""

from scalenet_tf.export.metadata import read_metadata
from scalenet_tf.export.savedmodel import next_version, save_savedmodel
from scalenet_tf.export.tflite import convert_tflite
from scalenet_tf.export.verification import (
    BOUNDS,
    Verification,
    verify_savedmodel,
    verify_tflite,
)

__all__ = [
    "BOUNDS",
    "Verification",
    "convert_tflite",
    "next_version",
    "read_metadata",
    "save_savedmodel",
    "verify_savedmodel",
    "verify_tflite",
]
