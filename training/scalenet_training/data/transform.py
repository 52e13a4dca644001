"""From a stored image to the network's input."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from scalenet_tf.preprocessing import EvaluationTransform
from scalenet_training.data.augmentation import (
    AUGMENTATIONS,
    Augmentation,
    decoded,
    find_augmentation,
)


@dataclasses.dataclass(frozen=True)
class Transform:
    """From a stored image to the network's input.

    Attributes:
        image_size: Side of the input, in pixels.
        eval_resize: Length of the shorter side before evaluation crops the centre.
        augment: Name of the augmentation.
        normalization: Statistics, as for `scalenet_tf.preprocess_input`.
        classes: Number of classes.
        augmentations: The table that has the augmentation.

    Raises:
        ValueError: The table has no such augmentation.
    """

    image_size: int
    eval_resize: int
    augment: str
    normalization: str
    classes: int
    augmentations: Mapping[str, Augmentation] = dataclasses.field(
        default_factory=lambda: AUGMENTATIONS
    )

    def __post_init__(self) -> None:
        find_augmentation(self.augment, self.augmentations)

    @classmethod
    def for_evaluation(cls, transform: EvaluationTransform, classes: int) -> Transform:
        """A transform that does not augment."""
        return cls(
            image_size=transform.image_size,
            eval_resize=transform.resize,
            augment="none",
            normalization=transform.normalization,
            classes=classes,
        )

    def evaluation(self, image: tf.Tensor) -> tf.Tensor:
        """Resizes the image, crops its centre and normalises it."""
        return self._evaluation(decoded(image))

    def training(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Augments the image as the seed `(2,)` decides, and normalises it."""
        augmented = self.augmentations[self.augment].image
        if augmented is None:
            return self.evaluation(image)
        return self._evaluation.normalize(augmented(image, self.image_size, seed))

    @property
    def _evaluation(self) -> EvaluationTransform:
        return EvaluationTransform(
            self.image_size, self.eval_resize, self.normalization
        )


def check_sizes(image_size: int, eval_resize: int, minimum: int) -> None:
    """Checks that images can be resized and cropped to these sides.

    Raises:
        ValueError: They cannot; the message names the option.
    """
    if image_size < minimum:
        raise ValueError(
            f"--image-size must be at least {minimum} for this network. "
            f"Received: {image_size}."
        )
    if eval_resize < image_size:
        raise ValueError(
            f"--eval-resize must be at least the image size, {image_size}. "
            f"Received: {eval_resize}."
        )
