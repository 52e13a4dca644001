"""Batch norm as PyTorch trains it, over a replica's examples or over all replicas'.

In training, Keras' own layer takes a dozen operations over the whole map, and keeps
the biased variance. Here one fused operation does it, and the moving variance is the
unbiased one.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}

# The fused operation takes these and computes the statistics in float32.
_FUSED_TYPES = (tf.float32, tf.bfloat16, tf.float16)


class _Normalized(NamedTuple):
    """A normalised map, and the statistics of the batch: mean and biased variance."""

    output: tf.Tensor
    mean: tf.Tensor
    variance: tf.Tensor
    pixels: tf.Tensor | float


@keras.saving.register_keras_serializable(package="scalenet_tf")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch norm whose moving variance is the unbiased one, as PyTorch keeps it.

    Input and output: `(batch, height, width, channels)`, or any rank in Keras' way.
    Maps of rank 4 in float32, bfloat16 or float16 take TensorFlow's fused operation,
    forward and backward; others, such as float64, take plain operations of the same
    results. The statistics are float32 or wider. Takes the arguments of Keras' layer.

    Source: Ioffe and Szegedy, 2015; `torch.nn.BatchNorm2d` for the moving variance.
    """

    def call(
        self,
        inputs: tf.Tensor,
        training: bool | None = None,
        mask: Any = None,
        repeats: int = 1,
    ) -> tf.Tensor:
        """Normalises; in training by the batch, which moves the statistics.

        Args:
            inputs: The map.
            training: Whether to normalise by the batch's own statistics.
            mask: As in Keras, whose layer then computes.
            repeats: How often upsampling repeats each pixel afterwards: the unbiased
                variance counts the pixels of the larger map, whose mean and biased
                variance are the same.
        """
        is_last = self.axis in (-1, len(inputs.shape) - 1)
        if mask is not None or self.renorm or not (is_last and self._has_both):
            return super().call(inputs, training=training, mask=mask)
        if not (training and self.trainable):
            return self._normalized_by_moving(inputs)
        result = self._normalized_by_batch(inputs)
        count = result.pixels * repeats
        unbiased = result.variance * (count / _at_least_one(count - 1))
        self._move(self.moving_mean, result.mean)
        self._move(self.moving_variance, unbiased)
        return result.output

    @property
    def _has_both(self) -> bool:
        return self.center and self.scale

    def _normalized_by_moving(self, inputs: tf.Tensor) -> tf.Tensor:
        if not _is_fusable(inputs):
            return super().call(inputs, training=False)
        return tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma.value,
            offset=self.beta.value,
            mean=self.moving_mean.value,
            variance=self.moving_variance.value,
            epsilon=self.epsilon,
            is_training=False,
        ).y

    def _normalized_by_batch(self, inputs: tf.Tensor) -> _Normalized:
        count = _count(inputs)
        if _is_fusable(inputs):
            empty = tf.zeros((0,), tf.float32)
            result = tf.raw_ops.FusedBatchNormV3(
                x=inputs,
                scale=self.gamma.value,
                offset=self.beta.value,
                mean=empty,
                variance=empty,
                epsilon=self.epsilon,
                is_training=True,
            )
            # It gives the unbiased variance of the map that it sees.
            biased = result.batch_variance * (_at_least_one(count - 1) / count)
            return _Normalized(result.y, result.batch_mean, biased, count)
        x = tf.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        mean, variance = tf.nn.moments(x, list(range(len(x.shape) - 1)))
        output = self._normalized_by(x, mean, variance)
        return _Normalized(output, mean, variance, tf.cast(count, x.dtype))

    def _normalized_by(
        self, x: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor
    ) -> tf.Tensor:
        offset, scale = (tf.cast(w.value, x.dtype) for w in (self.beta, self.gamma))
        output = tf.nn.batch_normalization(
            x, mean, variance, offset, scale, self.epsilon
        )
        return tf.cast(output, self.compute_dtype)

    def _move(self, moving: keras.Variable, value: tf.Tensor) -> None:
        value = tf.stop_gradient(tf.cast(value, moving.dtype))
        moving.assign(moving * self.momentum + value * (1.0 - self.momentum))


@keras.saving.register_keras_serializable(package="scalenet_tf")
class SynchronizedBatchNormalization(BatchNormalization):
    """Batch norm whose statistics in training are those of the global batch.

    Under `tf.distribute` every replica has to hold as many examples. The variance is
    that of the deviations from the global mean, as on one device; Keras'
    `synchronized=True` takes E[x^2] - E[x]^2, which cancels in float32, and its
    gradients take minutes to trace for a network of 50 layers on two devices.

    Input and output: `(batch, height, width, channels)`.
    """

    def _normalized_by_batch(self, inputs: tf.Tensor) -> _Normalized:
        context = tf.distribute.get_replica_context()
        replicas = 1 if context is None else context.num_replicas_in_sync
        if replicas == 1:
            return super()._normalized_by_batch(inputs)
        x = tf.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        axes = list(range(len(x.shape) - 1))
        mean = _mean_over_replicas(tf.reduce_mean(x, axes))
        variance = _mean_over_replicas(tf.reduce_mean(tf.square(x - mean), axes))
        count = tf.cast(_count(inputs) * replicas, x.dtype)
        output = self._normalized_by(x, mean, variance)
        return _Normalized(output, mean, variance, count)


def make_batch_norm(
    name: str, synchronized: bool, dtype: Any = None
) -> keras.layers.BatchNormalization:
    """The batch norm of all networks of this package."""
    kind = SynchronizedBatchNormalization if synchronized else BatchNormalization
    return kind(name=name, dtype=dtype, **BATCH_NORM)


def folded_weights(
    conv: keras.layers.Conv2D, norm: keras.layers.BatchNormalization
) -> list[np.ndarray]:
    """Kernel and bias, float64, of a convolution with its batch norm folded in."""
    kernel, gamma, beta, mean, variance = (
        keras.ops.convert_to_numpy(variable).astype(np.float64)
        for variable in (
            conv.kernel,
            norm.gamma,
            norm.beta,
            norm.moving_mean,
            norm.moving_variance,
        )
    )
    if conv.use_bias:
        mean = mean - keras.ops.convert_to_numpy(conv.bias)
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return [kernel * scale, beta - mean * scale]


def _is_fusable(x: tf.Tensor) -> bool:
    return len(x.shape) == 4 and x.dtype in _FUSED_TYPES


def _count(x: tf.Tensor) -> tf.Tensor | float:
    """How many values of each channel there are; a number where that is known."""
    if x.shape[:-1].is_fully_defined():
        return float(math.prod(x.shape[:-1]))
    return tf.cast(tf.size(x) // tf.shape(x)[-1], tf.float32)


def _at_least_one(count: tf.Tensor | float) -> tf.Tensor | float:
    return tf.maximum(count, 1) if tf.is_tensor(count) else max(count, 1.0)


@tf.custom_gradient
def _mean_over_replicas(values: tf.Tensor) -> tuple[tf.Tensor, Any]:
    context = tf.distribute.get_replica_context()

    def mean(own: tf.Tensor) -> tf.Tensor:
        # `all_reduce` looks for variables by walking the graph back from its result,
        # through the other replicas to their inputs, once for every call:
        # `stop_gradient` is where the walk ends. The gradient is given here.
        return context.all_reduce(tf.distribute.ReduceOp.MEAN, tf.stop_gradient(own))

    # The gradient of an all-mean is an all-mean.
    return mean(values), mean
