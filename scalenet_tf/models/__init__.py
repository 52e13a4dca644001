"""The model factory: networks of architectures, and their feature pyramids."""

from scalenet_tf.models.loss import SmoothedCrossEntropy
from scalenet_tf.models.networks import ScaleNet, create_model
from scalenet_tf.models.pyramid import feature_pyramid, smallest_side
from scalenet_tf.names import HEAD

__all__ = [
    "HEAD",
    "ScaleNet",
    "SmoothedCrossEntropy",
    "create_model",
    "feature_pyramid",
    "smallest_side",
]
