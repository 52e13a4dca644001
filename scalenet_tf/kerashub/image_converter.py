"""From pictures to the network's input, as a layer of KerasHub."""

from __future__ import annotations

from typing import Any

import keras

from scalenet_tf.kerashub.backbone import ScaleNetBackbone
from scalenet_tf.kerashub.library import keras_hub
from scalenet_tf.preprocessing import STATISTICS, check_statistics


@keras.saving.register_keras_serializable(package="scalenet_tf")
class ScaleNetImageConverter(keras_hub.layers.ImageConverter):
    """Resizes RGB pictures and normalises them as `preprocess_input` does.

    By default the largest window of the wanted shape is cut out of the middle and then
    resized; evaluation in this package resizes first, so that its window can differ by
    a pixel. For detection `crop_to_aspect_ratio=False, pad_to_aspect_ratio=True` keeps
    the whole picture.

    Args:
        image_size: `(height, width)` of the result; `None` leaves the size.
        statistics: As for `preprocess_input`.
        antialias: Whether a reduced picture is smoothed, as training and evaluation of
            this package do.
        **kwargs: Those of `keras_hub.layers.ImageConverter`, but `scale` and `offset`,
            which follow from the statistics. The result is of the type of `dtype`, by
            default that of Keras' policy.

    Raises:
        ValueError: An argument is not allowed, or pictures do not have three channels.
        TypeError: `scale` or `offset` is given.
    """

    backbone_cls = ScaleNetBackbone

    def __init__(
        self,
        image_size: tuple[int, int] | None = None,
        statistics: str = "imagenet",
        antialias: bool = True,
        **kwargs: Any,
    ):
        check_statistics("statistics", statistics)
        if {"scale", "offset"} & kwargs.keys():
            raise TypeError(
                "`scale` and `offset` follow from `statistics`. Received: "
                f"{', '.join(sorted({'scale', 'offset'} & kwargs.keys()))}."
            )
        if image_size is not None and not isinstance(image_size, list | tuple):
            raise ValueError(
                "`image_size` must be (height, width) or None. "
                f"Received: image_size={image_size!r}."
            )
        mean, deviation = STATISTICS[statistics]
        super().__init__(
            image_size=image_size,
            scale=[1 / (255 * part) for part in deviation],
            offset=[-m / part for m, part in zip(mean, deviation, strict=True)],
            antialias=antialias,
            **kwargs,
        )
        self.statistics = statistics

    def call(self, inputs: Any) -> Any:
        """Converts pictures, or a dictionary of them and their boxes."""
        images = inputs["images"] if isinstance(inputs, dict) else inputs
        shape = getattr(images, "shape", None)
        if shape is not None and shape[-1] != 3:
            raise ValueError(
                "pictures must be RGB with channels last, (..., 3). "
                f"Received: shape {tuple(shape)}."
            )
        return super().call(inputs)

    def get_config(self) -> dict[str, Any]:
        """The arguments, as JSON has them."""
        config = {**super().get_config(), "statistics": self.statistics}
        return {
            name: value
            for name, value in config.items()
            if name not in ("scale", "offset")
        }
