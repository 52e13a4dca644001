"""From pictures to the network's input, as a layer of KerasHub."""

from __future__ import annotations

from typing import Any

import keras

from scalenet_tf.kerashub.backbone import ScaleNetBackbone
from scalenet_tf.kerashub.library import keras_hub
from scalenet_tf.preprocessing import STATISTICS, check_statistics


@keras.saving.register_keras_serializable(package="scalenet_tf")
class ScaleNetImageConverter(keras_hub.layers.ImageConverter):
    """Resizes pictures and normalises them as `preprocess_input` does.

    Args:
        image_size: `(height, width)` of the result; `None` leaves the size.
        statistics: As for `preprocess_input`.
        antialias: Whether a reduced picture is smoothed, as training and evaluation of
            this package do.
        **kwargs: Those of `keras_hub.layers.ImageConverter`, but `scale` and `offset`,
            which follow from the statistics.

    Raises:
        ValueError: There are no such statistics.
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
        mean, deviation = STATISTICS[statistics]
        super().__init__(
            image_size=image_size,
            scale=[1 / (255 * part) for part in deviation],
            offset=[-m / part for m, part in zip(mean, deviation, strict=True)],
            antialias=antialias,
            **kwargs,
        )
        self.statistics = statistics

    def get_config(self) -> dict[str, Any]:
        """The arguments, as JSON has them."""
        config = {**super().get_config(), "statistics": self.statistics}
        return {
            name: value
            for name, value in config.items()
            if name not in ("scale", "offset")
        }
