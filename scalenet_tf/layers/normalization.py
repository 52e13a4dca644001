"""Batch norm as PyTorch trains it, over a replica's examples or over all replicas'.

In training, Keras' own layer takes a dozen operations over the whole map, and keeps
the biased variance. Here the moving variance is the unbiased one, and on TensorFlow
one fused operation does it.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from scalenet_tf.layers.operations import Normalized, operations

BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}


@keras.saving.register_keras_serializable(package="scalenet_tf")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch norm whose moving variance is the unbiased one, as PyTorch keeps it.

    Input and output: `(batch, height, width, channels)`, or any rank in Keras' way.
    On TensorFlow maps of rank 4 in float32, bfloat16 or float16 take its fused
    operation, forward and backward; others, such as float64, and other backends take
    plain operations of the same results. The statistics are float32 or wider. Takes
    the arguments of Keras' layer; with `synchronized=True` it computes as
    `SynchronizedBatchNormalization`.

    Source: Ioffe and Szegedy, 2015; `torch.nn.BatchNorm2d` for the moving variance.
    """

    def call(
        self,
        inputs: Any,
        training: bool | None = None,
        mask: Any = None,
        repeats: int = 1,
    ) -> Any:
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
            output = operations().normalize_by_moving(self, inputs)
            return super().call(inputs, training=False) if output is None else output
        result = self._normalized_by_batch(inputs, repeats)
        self._move(self.moving_mean, result.mean)
        self._move(self.moving_variance, result.variance)
        return result.output

    @property
    def _has_both(self) -> bool:
        return self.center and self.scale

    def _normalized_by_batch(self, inputs: Any, repeats: int) -> Normalized:
        if self.synchronized:
            return operations().normalize_by_replicas(self, inputs, repeats)
        return operations().normalize_by_batch(self, inputs, repeats)

    def _move(self, moving: keras.Variable, value: Any) -> None:
        value = keras.ops.stop_gradient(keras.ops.cast(value, moving.dtype))
        moving.assign(moving * self.momentum + value * (1.0 - self.momentum))


@keras.saving.register_keras_serializable(package="scalenet_tf")
class SynchronizedBatchNormalization(BatchNormalization):
    """Batch norm whose statistics in training are those of the global batch.

    Under `tf.distribute` every replica has to hold as many examples. The variance is
    that of the deviations from the global mean, as on one device; Keras'
    `synchronized=True` takes E[x^2] - E[x]^2, which cancels in float32, and its
    gradients take minutes to trace for a network of 50 layers on two devices.
    On other backends than TensorFlow it does not train (`BackendError`).

    Input and output: `(batch, height, width, channels)`.
    """

    def _normalized_by_batch(self, inputs: Any, repeats: int) -> Normalized:
        return operations().normalize_by_replicas(self, inputs, repeats)


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
