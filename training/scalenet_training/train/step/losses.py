"""Losses by the names that `--loss` takes, of hard or soft labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import tensorflow as tf


def softmax_loss(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of the softmax, `(batch,)`."""
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def binary_loss(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Mean over the classes of the cross-entropy of each class' sigmoid, `(batch,)`.

    Source: Wightman et al., "ResNet strikes back", 2021.
    """
    losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
    return tf.reduce_mean(losses, axis=-1)


# (targets, logits), both (batch, classes) -> (batch,)
LOSSES: Mapping[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = MappingProxyType(
    {"softmax": softmax_loss, "binary": binary_loss}
)


@dataclasses.dataclass(frozen=True)
class Loss:
    """The loss of an example.

    Attributes:
        kind: A name in `LOSSES`.
        label_smoothing: Part of the target that is spread evenly over all classes.
        threshold: Targets above it become 1, the others 0; `None` leaves them soft.
        class_weights: Factor of the loss of each class; none where empty. A mixed label
            has that of each of its classes, by its share.
    """

    kind: str = "softmax"
    label_smoothing: float = 0.0
    threshold: float | None = None
    class_weights: Sequence[float] = ()

    def __call__(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """`(batch,)`, of labels `(batch,)` or soft ones `(batch, classes)`."""
        classes = logits.shape[-1]
        if labels.shape.rank == 1:
            labels = tf.one_hot(labels, classes, dtype=logits.dtype)
        targets = labels = tf.cast(labels, logits.dtype)
        factor = tf.ones((), logits.dtype)
        if self.class_weights:
            weighted = labels * tf.constant(self.class_weights, logits.dtype)
            factor = tf.reduce_sum(weighted, axis=-1)
            targets = tf.math.divide_no_nan(weighted, factor[:, None])
        if self.threshold is not None:
            targets = tf.cast(labels > self.threshold, logits.dtype)
        smoothing = self.label_smoothing
        targets = targets * (1.0 - smoothing) + smoothing / classes
        return factor * LOSSES[self.kind](targets, logits)


SOFTMAX = Loss()


def cross_entropy(
    logits: tf.Tensor, labels: tf.Tensor, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Cross-entropy of the softmax for each example, `(batch,)`."""
    return Loss(label_smoothing=label_smoothing)(logits, labels)


def dominant(labels: tf.Tensor) -> tf.Tensor:
    """The class of the largest share of each label, `(batch,)`."""
    return labels if labels.shape.rank == 1 else tf.argmax(labels, axis=-1)
