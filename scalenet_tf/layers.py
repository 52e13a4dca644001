"""The SA (scale aggregation) block as a Keras layer.

Flow of data, for each scale that has neurons:
`max-pool -> convolution -> batch norm and ReLU, upsampling` and then one
concatenation. The order of the last steps of a branch is chosen so that the result
is the paper's: where upsampling repeats whole pixels, batch norm and ReLU commute
with it and run on the small map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from scalenet_tf.normalization import make_batch_norm
from scalenet_tf.resampling import (
    max_pool_from,
    repeats_pixels,
    resize,
    spatial_size,
)

if keras.config.backend() != "tensorflow":
    raise ImportError(
        "scalenet_tf needs the TensorFlow backend of Keras. Received: "
        f"{keras.config.backend()!r}. Set the environment variable "
        "KERAS_BACKEND=tensorflow, or remove it, before Keras is imported."
    )

# Convolutions as the authors initialise them: He et al., 2015, fan-out, untruncated.
CONV_INITIALIZER = {
    "scale": 2.0,
    "mode": "fan_out",
    "distribution": "untruncated_normal",
}


@keras.saving.register_keras_serializable(package="scalenet_tf")
class ScaleAggregation(keras.layers.Layer):
    """Scale aggregation: one convolution whose neurons look at several scales.

    Scale `s` max-pools the input by `s`, convolves it, and brings the result back to
    the input's size: by repeating pixels where both sides are integer multiples of
    the small map's, else by bilinear interpolation with half-pixel centres. Each
    scale has a batch norm of its own; ReLU comes last. A pooling window larger than
    the map is clamped to the map.

    Input: `(batch, height, width, channels)`; height and width may be unknown.
    Output: `(batch, height, width, sum(channels))`, scales in order.

    Args:
        channels: Neurons of each scale. A scale with 0 neurons does not exist.
        scales: Downsampling factors, ascending; 1 is the input itself.
        kernel_sizes: Side of the kernel, one number or one for each scale.
        synchronized: Whether the batch norms use the statistics of the global batch
            under `tf.distribute`, instead of the replica's.
        folded: Whether each convolution has a bias instead of a batch norm, for
            inference: see `scalenet_tf.fold_batch_norm`.
        frozen: Names of the sublayers (`scale1_conv`, `scale1_bn`, ...) that do not
            train. Default: all of them where `trainable=False`, else none. Later on,
            set `trainable` of a sublayer, or of the block, which sets all of them.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: The arguments do not fit together; channels come first.

    Source: Li et al., CVPR 2019, section 3.1.
    """

    def __init__(
        self,
        channels: Sequence[int],
        scales: Sequence[int] = (1, 2, 4, 7),
        kernel_sizes: int | Sequence[int] = 3,
        synchronized: bool = False,
        folded: bool = False,
        frozen: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if isinstance(kernel_sizes, int):
            kernel_sizes = [kernel_sizes] * len(scales)
        _check_arguments(channels, scales, kernel_sizes)
        self.channels = tuple(channels)
        self.scales = tuple(scales)
        self.kernel_sizes = tuple(kernel_sizes)
        self.synchronized = synchronized
        self.folded = folded
        for scale, count, side in zip(
            self.scales, self.channels, self.kernel_sizes, strict=True
        ):
            if count:
                # tf.train.Checkpoint passes over layers in a dict: one attribute each.
                setattr(self, f"scale{scale}_conv", self._conv(scale, count, side))
                if not folded:
                    setattr(self, f"scale{scale}_bn", self._norm(scale))
        self._freeze(self._frozen_by_default() if frozen is None else frozen)

    @property
    def convs(self) -> dict[int, keras.layers.Conv2D]:
        """The convolution of each scale that has neurons."""
        return {scale: getattr(self, f"scale{scale}_conv") for scale in self._active}

    @property
    def norms(self) -> dict[int, keras.layers.BatchNormalization]:
        """The batch norm of each scale that has neurons; none of a folded block."""
        active = [] if self.folded else self._active
        return {scale: getattr(self, f"scale{scale}_bn") for scale in active}

    @property
    def frozen(self) -> list[str]:
        """Names of the sublayers that do not train."""
        return [layer.name for layer in self._sublayers if not layer.trainable]

    @property
    def _sublayers(self) -> list[keras.layers.Layer]:
        return [*self.convs.values(), *self.norms.values()]

    def _frozen_by_default(self) -> list[str]:
        return [] if self.trainable else [layer.name for layer in self._sublayers]

    def _freeze(self, names: Sequence[str]) -> None:
        sublayers = {layer.name: layer for layer in self._sublayers}
        unknown = sorted(set(names) - sublayers.keys())
        if unknown:
            raise ValueError(
                f"`frozen` must name sublayers of the block: {sorted(sublayers)}. "
                f"Received: {unknown}."
            )
        for name in names:
            sublayers[name].trainable = False

    @property
    def _active(self) -> list[int]:
        pairs = zip(self.scales, self.channels, strict=True)
        return [scale for scale, count in pairs if count]

    def _conv(self, scale: int, count: int, side: int) -> keras.layers.Conv2D:
        return keras.layers.Conv2D(
            count,
            side,
            padding="same",
            use_bias=self.folded,
            kernel_initializer=keras.initializers.VarianceScaling(**CONV_INITIALIZER),
            dtype=self.dtype_policy,
            name=f"scale{scale}_conv",
        )

    def _norm(self, scale: int) -> keras.layers.BatchNormalization:
        return make_batch_norm(f"scale{scale}_bn", self.synchronized, self.dtype_policy)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the weights for an input of shape `(batch, h, w, channels)`."""
        for scale, conv in self.convs.items():
            conv.build(input_shape)
            if not self.folded:
                self.norms[scale].build((*input_shape[:-1], conv.filters))

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Computes the block; `training` chooses the batch norms' statistics."""
        size = spatial_size(inputs)
        pooled = {1: inputs}
        branches = []
        for scale, conv in self.convs.items():
            if scale not in pooled:
                pooled[scale] = max_pool_from(pooled, scale)
            features = conv(pooled[scale])
            if scale == 1:
                features = self._activate(scale, features, training)
            elif repeats_pixels(features, size):
                repeats = math.prod(size) // math.prod(spatial_size(features))
                features = self._activate(scale, features, training, repeats)
                features = resize(features, size)
            else:
                features = self._activate(scale, resize(features, size), training)
            branches.append(features)
        return tf.concat(branches, axis=-1)

    def _activate(
        self,
        scale: int,
        features: tf.Tensor,
        training: bool | None,
        repeats: int = 1,
    ) -> tf.Tensor:
        if not self.folded:
            norm = self.norms[scale]
            features = norm(features, training=training, repeats=repeats)
        return tf.nn.relu(features)

    def compute_output_shape(
        self, input_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        """The input's shape with `sum(channels)` as the last entry."""
        return (*input_shape[:-1], sum(self.channels))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; `frozen` only where it is not the default."""
        frozen = self.frozen
        return {
            **super().get_config(),
            "channels": list(self.channels),
            "scales": list(self.scales),
            "kernel_sizes": list(self.kernel_sizes),
            "synchronized": self.synchronized,
            "folded": self.folded,
            **({"frozen": frozen} if frozen != self._frozen_by_default() else {}),
        }

    def finalize_state(self) -> None:
        """Called by Keras after it has read the arrays of an `.h5` file, in order.

        Raises:
            ValueError: A moving variance is negative: the order was another.
        """
        for norm in self.norms.values():
            smallest = float(tf.reduce_min(norm.moving_variance.value))
            if smallest < 0:
                raise ValueError(
                    f"the moving variance of {self.name}/{norm.name} is negative "
                    f"({smallest:.3g}). An .h5 file has its arrays in an order that "
                    "depends on which layers are frozen, and those of the model are "
                    "others. Load the whole model by scalenet_tf.load_model(path)."
                )


def check_data_format() -> None:
    """Raises ValueError where Keras is set to put channels first."""
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "scalenet_tf needs images with channels last. Received: "
            f"image_data_format={keras.config.image_data_format()!r}. Call "
            "keras.config.set_image_data_format('channels_last')."
        )


def _check_arguments(
    channels: Sequence[int], scales: Sequence[int], kernel_sizes: Sequence[int]
) -> None:
    check_data_format()
    if not len(channels) == len(scales) == len(kernel_sizes):
        raise ValueError(
            "`channels` and `kernel_sizes` must have one entry for each of `scales`. "
            f"Received: channels={list(channels)}, scales={list(scales)}, "
            f"kernel_sizes={list(kernel_sizes)}."
        )
    if list(scales) != sorted(set(scales)) or not scales or scales[0] < 1:
        raise ValueError(
            "`scales` must be whole numbers from 1 up, ascending without repetition. "
            f"Received: {list(scales)}."
        )
    if min(channels) < 0 or not any(channels):
        raise ValueError(
            "`channels` must be numbers of neurons, none negative and not all zero. "
            f"Received: {list(channels)}."
        )
