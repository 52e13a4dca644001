"""Learning from a teacher's predictions, beside the labels."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from scalenet_training.networks.teacher import Teacher


@dataclasses.dataclass(frozen=True)
class Distillation:
    """A part of the loss that compares a network's predictions with a teacher's.

    It is the divergence of the two softmaxes, KL(teacher || student), of logits that
    are divided by a temperature, times the square of that, so that its gradients keep
    their size. The teacher sees the images as they come out of the augmentation.

    Attributes:
        teacher: Whose predictions are learned.
        weight: The part of the loss; the rest is that of the labels.
        temperature: Above 1, the teacher's smaller probabilities count for more.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; Beyer
    et al., "Knowledge distillation: A good teacher is patient and consistent", 2022,
    for what the teacher is shown.
    """

    teacher: Teacher
    weight: float
    temperature: float = 1.0

    def targets(self, images: tf.Tensor) -> tf.Tensor:
        """The teacher's logits of images `(batch, side, side, 3)`, without gradient."""
        logits = tf.cast(self.teacher.logits(images), keras.config.floatx())
        return tf.stop_gradient(logits)

    def mixed(
        self, losses: tf.Tensor, logits: tf.Tensor, targets: tf.Tensor
    ) -> tf.Tensor:
        """The losses `(batch,)`, with the teacher's part.

        Args:
            losses: Of the labels, `(batch,)`.
            logits: The student's, `(batch, classes)`.
            targets: What `targets` gave, `(batch, classes)`.
        """
        divergence = divergence_of(targets, logits, self.temperature)
        return (1.0 - self.weight) * losses + self.weight * divergence


def divergence_of(
    targets: tf.Tensor, logits: tf.Tensor, temperature: float
) -> tf.Tensor:
    """temperature^2 x KL(softmax(targets / temperature) || softmax(logits / ...))."""
    expected = tf.nn.log_softmax(targets / temperature)
    got = tf.nn.log_softmax(logits / temperature)
    divergence = tf.reduce_sum(tf.exp(expected) * (expected - got), axis=-1)
    return temperature**2 * divergence
