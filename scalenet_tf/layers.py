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

if keras.config.backend() != "tensorflow":
    raise ImportError(
        "scalenet_tf needs the TensorFlow backend of Keras. Received: "
        f"{keras.config.backend()!r}. Set the environment variable "
        "KERAS_BACKEND=tensorflow, or remove it, before Keras is imported."
    )

Size = tuple[int | tf.Tensor, int | tf.Tensor]

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
        size = _spatial_size(inputs)
        pooled = {1: inputs}
        branches = []
        for scale, conv in self.convs.items():
            if scale not in pooled:
                pooled[scale] = _max_pool_from(pooled, scale)
            features = conv(pooled[scale])
            if scale == 1:
                features = self._activate(scale, features, training)
            elif _repeats_pixels(features, size):
                repeats = math.prod(size) // math.prod(_spatial_size(features))
                features = self._activate(scale, features, training, repeats)
                features = _resize(features, size)
            else:
                features = self._activate(scale, _resize(features, size), training)
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
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "channels": list(self.channels),
            "scales": list(self.scales),
            "kernel_sizes": list(self.kernel_sizes),
            "synchronized": self.synchronized,
            "folded": self.folded,
        }


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


def _spatial_size(x: tf.Tensor) -> Size:
    """Height and width: numbers where they are known, else scalar tensors."""
    dynamic = tf.shape(x)
    height, width = (
        static if static is not None else dynamic[axis]
        for axis, static in ((1, x.shape[1]), (2, x.shape[2]))
    )
    return height, width


def _is_static(size: Size) -> bool:
    return all(isinstance(side, int) for side in size)


def _max_pool_from(pooled: dict[int, tf.Tensor], scale: int) -> tf.Tensor:
    """Max-pools by `scale`, from the smallest map at hand that gives the same.

    A 4x4 pool is a 2x2 pool of the 2x2 pool, unless the map is so small that the
    window would be clamped.
    """
    size = _spatial_size(pooled[1])
    source = 1
    if _is_static(size) and min(size) >= scale:
        source = max(done for done in pooled if scale % done == 0)
    return _max_pool(pooled[source], scale // source)


def _max_pool(x: tf.Tensor, window: int) -> tf.Tensor:
    """Max-pool with stride `window`, no padding, the window clamped to the map."""
    size = _spatial_size(x)
    if _is_static(size):
        clamped = [min(window, side) for side in size]
        return tf.nn.max_pool2d(x, clamped, clamped, "VALID")
    # A window known only at run time has no TFLite kernel: enlarge the map instead.
    height, width = (tf.maximum(window - side, 0) for side in size)
    padded = tf.pad(
        x, [[0, 0], [0, height], [0, width], [0, 0]], constant_values=x.dtype.min
    )
    return tf.nn.max_pool2d(padded, window, window, "VALID")


def _repeats_pixels(x: tf.Tensor, size: Size) -> bool:
    """Whether it is known that upsampling `x` to `size` repeats whole pixels."""
    small = _spatial_size(x)
    return (
        _is_static(small)
        and _is_static(size)
        and all(large % side == 0 for large, side in zip(size, small, strict=True))
    )


def _resize(x: tf.Tensor, size: Size) -> tf.Tensor:
    """Upsamples to `size`: nearest where both factors are integers, else bilinear."""
    small = _spatial_size(x)
    if _is_static(small) and small == size:
        return x
    if _is_static(small) and _is_static(size):
        return _nearest(x, size) if _repeats_pixels(x, size) else _bilinear(x, size)
    remainders = [large % side for large, side in zip(size, small, strict=True)]
    resized = tf.cond(
        tf.reduce_all(tf.equal(tf.stack(remainders), 0)),
        lambda: _nearest(x, size),
        lambda: _bilinear(x, size),
    )
    static = [side if isinstance(side, int) else None for side in size]
    return tf.ensure_shape(resized, [x.shape[0], *static, x.shape[3]])


def _nearest(x: tf.Tensor, size: Size) -> tf.Tensor:
    """Repeats pixels by integer factors.

    The operation converts to one TFLite kernel, but its own gradient has no XLA
    kernel on the CPU. The gradient is the sum over each window.
    """
    small = _spatial_size(x)

    @tf.custom_gradient
    def repeat(x: tf.Tensor):
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return _sum_windows(upstream, size, small)

        return tf.image.resize(x, size, "nearest"), gradient

    return repeat(x)


def _sum_windows(x: tf.Tensor, size: Size, small: Size) -> tf.Tensor:
    """Sums windows so that a map of `size` becomes one of `small`."""
    factors = [large // side for large, side in zip(size, small, strict=True)]
    if _is_static(size) and _is_static(small):
        return tf.nn.avg_pool2d(x, factors, factors, "VALID") * math.prod(factors)
    channels = x.shape[3]
    rows = tf.reshape(x, [-1, factors[0], size[1] * channels])
    columns = tf.reshape(tf.reduce_sum(rows, axis=1), [-1, factors[1], channels])
    return tf.reshape(tf.reduce_sum(columns, axis=1), [-1, *small, channels])


def _bilinear(x: tf.Tensor, size: Size) -> tf.Tensor:
    """Bilinear interpolation with half-pixel centres, in the precision of `x`."""
    if x.dtype == tf.float64:  # the operation computes in float32
        rows = _interpolate(x, axis=1, size=size[0])
        return _interpolate(rows, axis=2, size=size[1])
    return tf.cast(tf.image.resize(x, size, "bilinear"), x.dtype)


def _interpolate(x: tf.Tensor, axis: int, size: int | tf.Tensor) -> tf.Tensor:
    side = tf.shape(x)[axis]
    scale = tf.cast(side, x.dtype) / tf.cast(size, x.dtype)
    centres = (tf.cast(tf.range(size), x.dtype) + 0.5) * scale - 0.5
    centres = tf.clip_by_value(centres, 0.0, tf.cast(side - 1, x.dtype))
    lower = tf.cast(tf.floor(centres), tf.int32)
    upper = tf.minimum(lower + 1, side - 1)
    weight = centres - tf.floor(centres)
    weight = tf.reshape(weight, [-1, 1] if axis == 2 else [-1, 1, 1])
    return tf.gather(x, lower, axis=axis) * (1 - weight) + (
        tf.gather(x, upper, axis=axis) * weight
    )
