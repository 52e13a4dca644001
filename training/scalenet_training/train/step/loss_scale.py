"""A loss scale for float16 gradients, the same on all replicas."""

from __future__ import annotations

import keras
import tensorflow as tf

_INITIAL = 2.0**15
_STEPS_TO_DOUBLE = 2000


class LossScale(tf.Module):
    """Factor of the loss that keeps float16 gradients from vanishing.

    It is halved when the gradients, summed over all replicas, overflow, and doubled
    after 2,000 steps in which they did not. It belongs to the run, not to a replica.

    Source: Micikevicius et al., "Mixed Precision Training", 2018, section 3.2.
    """

    def __init__(self) -> None:
        super().__init__()
        dtype = keras.config.floatx()
        self.scale = tf.Variable(_INITIAL, trainable=False, dtype=dtype)
        self.good_steps = tf.Variable(0, trainable=False, dtype=tf.int64)

    def value(self) -> tf.Tensor:
        """The factor, a scalar."""
        return self.scale.value()

    def update(self, finite: tf.Tensor) -> None:
        """Adapts the factor to whether the gradients of a step were finite."""
        good = tf.where(finite, self.good_steps + 1, tf.zeros_like(self.good_steps))
        double = good >= _STEPS_TO_DOUBLE
        grown = tf.where(double, self.scale * 2.0, self.scale)
        shrunk = tf.maximum(self.scale / 2.0, 1.0)
        self.scale.assign(tf.where(finite, grown, shrunk))
        self.good_steps.assign(tf.where(double, tf.zeros_like(good), good))
