"""The networks as KerasHub has its own: backbone, image converter, classifier.

Needs keras-hub, `pip install 'scalenet_tf[kerashub]'`; without it the import is a
MissingPackageError. KerasHub finds these classes by their names in a preset: import
this module before calling `from_preset`.
"""

from scalenet_tf.kerashub.backbone import ScaleNetBackbone
from scalenet_tf.kerashub.classifier import (
    ScaleNetImageClassifier,
    ScaleNetImageClassifierPreprocessor,
)
from scalenet_tf.kerashub.image_converter import ScaleNetImageConverter

__all__ = [
    "ScaleNetBackbone",
    "ScaleNetImageClassifier",
    "ScaleNetImageClassifierPreprocessor",
    "ScaleNetImageConverter",
]
