"""The network without its top, as a backbone of KerasHub."""

from __future__ import annotations

import contextlib
import numbers
import os
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from scalenet_tf.architectures import (
    Architecture,
    architecture_from_record,
    get_architecture,
)
from scalenet_tf.kerashub.library import keras_hub
from scalenet_tf.models import feature_pyramid
from scalenet_tf.models.arguments import explained
from scalenet_tf.models.networks import ScaleNet


@keras.saving.register_keras_serializable(package="scalenet_tf")
class ScaleNetBackbone(keras_hub.models.FeaturePyramidBackbone):
    """A ScaleNet or ResNet without its top, for the tasks of KerasHub.

    Its output is the last feature map, `(batch, h, w, 4 x width)`; `pyramid_outputs`
    are those of `feature_pyramid`, which detectors and DeepLabV3+ take.

    Args:
        architecture: What to build: an `Architecture`, the record of one, or one of
            the public names of `list_models`.
        image_shape: Shape of an image, `(h, w, channels)`; h and w may be `None` for
            any size.
        weights: As for `ScaleNet`; files with a top are read without it. Not kept in
            the configuration: a saved backbone has its weights beside it.
        dtype: Policy of the layers, such as `"mixed_bfloat16"`. Default: Keras'.
        name: Name of the model. Default: the architecture's in lower case, and
            `_backbone`.
        trainable: Whether training changes the weights.

    Raises:
        ValueError: An argument is not allowed, or does not fit the weights.
        TypeError: There is no such argument; the message names the one that is meant.

    Source: Li et al., CVPR 2019, sections 3 and 4.2.
    """

    @explained
    def __init__(
        self,
        architecture: Architecture | Mapping[str, Any] | str,
        image_shape: tuple[int | None, int | None, int] = (None, None, 3),
        *,
        weights: str | os.PathLike[str] | None = None,
        dtype: Any = None,
        name: str | None = None,
        trainable: bool = True,
    ):
        architecture = _resolved(architecture)
        image_shape = _checked(image_shape, architecture)
        with _policy(dtype):
            network = ScaleNet(
                architecture,
                include_top=False,
                weights=weights,
                input_shape=image_shape,
            )
        super().__init__(
            inputs=network.input,
            outputs=network.output,
            dtype=dtype,
            name=name or f"{architecture.name.lower()}_backbone",
            trainable=trainable,
        )
        self.architecture = architecture
        self.image_shape = image_shape
        self.pyramid_outputs = feature_pyramid(network)

    def get_config(self) -> dict[str, Any]:
        """The arguments, as JSON has them."""
        return {
            **super().get_config(),
            "architecture": self.architecture.to_record(),
            "image_shape": self.image_shape,
        }


def _resolved(architecture: Architecture | Mapping[str, Any] | str) -> Architecture:
    if isinstance(architecture, Architecture):
        return architecture
    if isinstance(architecture, Mapping):
        return architecture_from_record(architecture)
    return get_architecture(architecture)


def _checked(
    shape: Any, architecture: Architecture
) -> tuple[int | None, int | None, int]:
    """The shape of an image as a tuple; a configuration has a list."""
    sides = tuple(shape) if isinstance(shape, list | tuple) else ()
    least = architecture.minimum_size
    whole = all(side is None or isinstance(side, numbers.Integral) for side in sides)
    if (
        len(sides) != 3
        or not whole
        or not sides[2]
        or any(side is not None and side < least for side in sides[:2])
    ):
        raise ValueError(
            "`image_shape` must be (height, width, channels), the first two None or at "
            f"least {least} for {architecture.name}. Received: image_shape={shape!r}."
        )
    return sides


@contextlib.contextmanager
def _policy(dtype: Any) -> Iterator[None]:
    """Layers that are made meanwhile have this policy; `None` leaves Keras' own."""
    before = keras.config.dtype_policy()
    policy = before if dtype is None else keras.dtype_policies.get(dtype)
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
