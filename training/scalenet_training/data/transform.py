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
        train_size: Side of the training images; that of the others where it is `None`.
    """

    evaluation: EvaluationTransform
    classes: int
    augmentation: Augmentation = NO_AUGMENTATION
    changes: tuple[Change, ...] = ()
    train_size: int | None = None

    @property
    def image_size(self) -> int:
        """Side of the network's input in evaluation, in pixels."""
        return self.evaluation.image_size

    @property
    def training(self) -> EvaluationTransform:
        """What evaluation does, in proportion, at the side of the training images."""
        own = self.evaluation
        side = self.train_size or own.image_size
        resize = round(own.resize * side / own.image_size)
        return dataclasses.replace(own, image_size=side, resize=resize)

    def for_evaluation(self, image: tf.Tensor) -> tf.Tensor:
        """Resizes the image, crops its centre and normalises it."""
        return self.evaluation(decoded(image))

    def for_training(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Augments the image as the seed `(2,)` decides, and normalises it."""
        if self.augmentation.image is None:
            pixels = self.training.crop(decoded(image))
        else:
            pixels = self.augmentation.image(image, self.training.image_size, seed)
        for change in self.changes:
            pixels = change(pixels, seed)
        return self.training.normalize(pixels)


def check_sizes(
    image_size: int, eval_resize: int, minimum: int, train_size: int | None = None
) -> None:
    """Checks that images can be resized and cropped to these sides.

    Raises:
        ValueError: They cannot; the message names the option.
    """
    for field, side in (("image_size", image_size), ("train_size", train_size)):
        if side is not None and side < minimum:
            raise ValueError(
                f"`{field}` must be at least {minimum} for this network. "
                f"Received: {side}."
            )
    if eval_resize < image_size:
        raise ValueError(
            f"`eval_resize` must be at least the image size, {image_size}. "
            f"Received: {eval_resize}."
        )
