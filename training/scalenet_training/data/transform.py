"""From a stored image to the network's input."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from scalenet_tf.preprocessing import EvaluationTransform
from scalenet_training.data.augmentation import NO_AUGMENTATION, Augmentation, decoded
from scalenet_training.data.pixels.changes import Change


@dataclasses.dataclass(frozen=True)
class Transform:
    """From a stored image to the network's input.

    Attributes:
        evaluation: What evaluation does to an image; it has the normalisation, too.
        classes: Number of classes.
        augmentation: How training images are cropped.
        changes: What is done to their pixels then.
    """

    evaluation: EvaluationTransform
    classes: int
    augmentation: Augmentation = NO_AUGMENTATION
    changes: tuple[Change, ...] = ()

    @property
    def image_size(self) -> int:
        """Side of the network's input, in pixels."""
        return self.evaluation.image_size

    def for_evaluation(self, image: tf.Tensor) -> tf.Tensor:
        """Resizes the image, crops its centre and normalises it."""
        return self.evaluation(decoded(image))

    def for_training(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Augments the image as the seed `(2,)` decides, and normalises it."""
        if self.augmentation.image is None:
            pixels = self.evaluation.crop(decoded(image))
        else:
            pixels = self.augmentation.image(image, self.image_size, seed)
        for change in self.changes:
            pixels = change(pixels, seed)
        return self.evaluation.normalize(pixels)


def check_sizes(image_size: int, eval_resize: int, minimum: int) -> None:
    """Checks that images can be resized and cropped to these sides.

    Raises:
        ValueError: They cannot; the message names the option.
    """
    if image_size < minimum:
        raise ValueError(
            f"`image_size` must be at least {minimum} for this network. "
            f"Received: {image_size}."
        )
    if eval_resize < image_size:
        raise ValueError(
            f"`eval_resize` must be at least the image size, {image_size}. "
            f"Received: {eval_resize}."
        )
