"""Convolutions as the authors initialise them, and the data format that they need."""

from __future__ import annotations

from typing import Any

import keras


def make_conv(
    filters: int, kernel_size: int, name: str, *, use_bias: bool = False, **kwargs: Any
) -> keras.layers.Conv2D:
    """A convolution as the authors initialise it; `kwargs` are those of Conv2D.

    Source: He et al., "Delving Deep into Rectifiers", ICCV 2015: fan-out, untruncated.
    """
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        use_bias=use_bias,
        kernel_initializer=keras.initializers.VarianceScaling(
            scale=2.0, mode="fan_out", distribution="untruncated_normal"
        ),
        name=name,
        **kwargs,
    )


def check_data_format() -> None:
    """Raises ValueError where Keras is set to put channels first."""
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "scalenet_tf needs images with channels last. Received: "
            f"image_data_format={keras.config.image_data_format()!r}. Call "
            "keras.config.set_image_data_format('channels_last')."
        )
