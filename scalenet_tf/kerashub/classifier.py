"""The classifier of KerasHub on a backbone of this package."""

import keras

from scalenet_tf.kerashub.backbone import ScaleNetBackbone
from scalenet_tf.kerashub.image_converter import ScaleNetImageConverter
from scalenet_tf.kerashub.library import keras_hub


@keras.saving.register_keras_serializable(package="scalenet_tf")
class ScaleNetImageClassifierPreprocessor(keras_hub.models.ImageClassifierPreprocessor):
    """Converts pictures by a `ScaleNetImageConverter`, and leaves labels unchanged."""

    backbone_cls = ScaleNetBackbone
    image_converter_cls = ScaleNetImageConverter


@keras.saving.register_keras_serializable(package="scalenet_tf")
class ScaleNetImageClassifier(keras_hub.models.ImageClassifier):
    """`keras_hub.models.ImageClassifier` on a `ScaleNetBackbone`, with its arguments.

    `keras_hub.models.ImageClassifier.from_preset` gives one of these for a folder into
    which a backbone and an image converter were saved, each by its `save_to_preset`.
    """

    backbone_cls = ScaleNetBackbone
    preprocessor_cls = ScaleNetImageClassifierPreprocessor
