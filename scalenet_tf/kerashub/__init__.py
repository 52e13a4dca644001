"""The networks as KerasHub has its own: backbone, image converter, classifier.

Needs keras-hub: `pip install 'scalenet_tf[kerashub]'`. KerasHub finds these classes in
a preset's folder by their names, so that this module is to be imported before
`from_preset`.
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
