"""Batch norm over a replica's examples, or over those of all replicas."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}


@keras.saving.register_keras_serializable(package="scalenet_tf")
class SynchronizedBatchNormalization(keras.layers.BatchNormalization):
    """Batch norm whose statistics in training are those of the global batch.

    Under `tf.distribute` every replica has to hold as many examples. The variance is
    that of the deviations from the global mean, as on one device; Keras'
    `synchronized=True` takes E[x^2] - E[x]^2, which cancels in float32, and its
    gradients take minutes to trace for a network of 50 layers on two devices.

    Input and output: `(batch, height, width, channels)`.
    """

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: Any = None
    ) -> tf.Tensor:
        """Normalises; in training by the global batch, which moves the statistics."""
        context = tf.distribute.get_replica_context()
        alone = context is None or context.num_replicas_in_sync == 1
        if alone or not training or not self.trainable:
            return super().call(inputs, training=training, mask=mask)
        dtype = keras.backend.result_type(inputs.dtype, "float32")
        x = tf.cast(inputs, dtype)
        axes = list(range(len(x.shape) - 1))
        mean = _mean_over_replicas(tf.reduce_mean(x, axes))
        variance = _mean_over_replicas(tf.reduce_mean(tf.square(x - mean), axes))
        for moving, value in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            value = tf.cast(value, moving.dtype)
            moving.assign(moving * self.momentum + value * (1.0 - self.momentum))
        x = keras.ops.batch_normalization(
            x,
            mean=mean,
            variance=variance,
            axis=-1,
            offset=tf.cast(self.beta, dtype),
            scale=tf.cast(self.gamma, dtype),
            epsilon=self.epsilon,
        )
        return tf.cast(x, self.compute_dtype)


def make_batch_norm(
    name: str, synchronized: bool, dtype: Any = None
) -> keras.layers.BatchNormalization:
    """The batch norm of all networks of this package."""
    kind = keras.layers.BatchNormalization
    if synchronized:
        kind = SynchronizedBatchNormalization
    return kind(name=name, dtype=dtype, **BATCH_NORM)


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
