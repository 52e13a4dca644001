"""ScaleNet (Li et al., CVPR 2019) for Keras 3 on TensorFlow.

`HyperScaleNet`, a hypermodel for KerasTuner, is imported when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from scalenet_tf import allocation, layers
from scalenet_tf._version import __version__
from scalenet_tf.architectures import (
    Architecture,
    get_architecture,
    list_models,
    load_architecture,
)
from scalenet_tf.folding import fold_batch_norm
from scalenet_tf.models import feature_pyramid
from scalenet_tf.models.networks import (
    ResNet50,
    ResNet101,
    ResNet152,
    ResNetCifar38,
    ResNetCifar56,
    ResNetCifar101,
    ScaleNet,
    ScaleNet50,
    ScaleNet50Light,
    ScaleNet101,
    ScaleNet152,
    ScaleNetCifar38,
    ScaleNetCifar56,
    ScaleNetCifar101,
    create_model,
)
from scalenet_tf.preprocessing import decode_predictions, preprocess_input
from scalenet_tf.profiling import count_macs
from scalenet_tf.shipped import ShippedWeights, describe_weights, list_weights
from scalenet_tf.weights import LoadReport, load_model, load_pytorch_weights

__all__ = [
    "Architecture",
    "LoadReport",
    "ResNet50",
    "ResNet101",
    "ResNet152",
    "ResNetCifar38",
    "ResNetCifar56",
    "ResNetCifar101",
    "ScaleNet",
    "ScaleNet50",
    "ScaleNet50Light",
    "ScaleNet101",
    "ScaleNet152",
    "ScaleNetCifar38",
    "ScaleNetCifar56",
    "ScaleNetCifar101",
    "ShippedWeights",
    "__version__",
    "allocation",
    "count_macs",
    "create_model",
    "decode_predictions",
    "describe_weights",
    "feature_pyramid",
    "fold_batch_norm",
    "get_architecture",
    "layers",
    "list_models",
    "list_weights",
    "load_architecture",
    "load_model",
    "load_pytorch_weights",
    "preprocess_input",
]


if TYPE_CHECKING:
    from scalenet_tf.tuner import HyperScaleNet as HyperScaleNet
else:

    def __getattr__(name: str) -> Any:
        # Its base class is keras_tuner's, which not everybody has or waits for.
        if name == "HyperScaleNet":
            from scalenet_tf.tuner import HyperScaleNet

            return HyperScaleNet
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "HyperScaleNet"})
