"""The feature maps of the stages, for detectors and other heads."""

from __future__ import annotations

from typing import Any

import keras

from scalenet_tf.architectures import Stem, minimum_size
from scalenet_tf.names import STEM_POOL, bottlenecks, where_inside


@keras.saving.register_keras_serializable(package="scalenet_tf")
class ScaleNetModel(keras.Model):
    """The class of the networks: a functional model that knows its levels."""

    @property
    def pyramid_outputs(self) -> dict[str, Any]:
        """`feature_pyramid` of this model, as detectors of KerasHub ask for it."""
        return feature_pyramid(self)


# By its bare name a class of models stands in .h5 files.
keras.saving.get_custom_objects()[ScaleNetModel.__name__] = ScaleNetModel


def feature_pyramid(model: keras.Model) -> dict[str, Any]:
    """The last feature map of each stage, by pyramid level, for detectors.

    Of a network inside another model, pass that network: `model.get_layer(name)`. It
    shares its weights with the model around it.

    Args:
        model: A model of this package, also one that was saved and loaded.

    Returns:
        Level -> Keras tensor `(batch, h, w, 4 x width)`. `"P2"` to `"P5"` have
        strides 4 to 32; CIFAR networks have `"P0"` to `"P2"`, strides 1 to 4. Use it
        as `keras.Model(model.input, feature_pyramid(model))`.

    Raises:
        ValueError: The model has no stages of this package.
    """
    last_of_stage = _last_of_stage(model)
    first_level = 2 if _has_pool(model) else 0
    return {
        f"P{stage - 1 + first_level}": tensor for stage, tensor in last_of_stage.items()
    }


def smallest_side(model: keras.Model) -> int:
    """Smallest side of an image, in pixels, that a model of this package can take.

    Raises:
        ValueError: The model has no stages of this package.
    """
    stem: Stem = "imagenet" if _has_pool(model) else "cifar"
    return minimum_size(stem, len(_last_of_stage(model)))


def _last_of_stage(model: keras.Model) -> dict[int, Any]:
    """Number of a stage -> its last feature map."""
    layers = {layer.name: layer for layer in model.layers}
    last_of_stage = {
        block.stage: layers[block.layer("out")].output
        for block in bottlenecks(layers)
        if block.layer("out") in layers
    }
    if not last_of_stage:
        raise ValueError(
            "`model` must be a model of this package, with layers named "
            f"stage1_block1_out and so on. Received: {model.name!r}."
            f"{where_inside(model)}"
        )
    return last_of_stage


def _has_pool(model: keras.Model) -> bool:
    return any(layer.name == STEM_POOL for layer in model.layers)
