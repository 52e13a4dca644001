"""Batches of a replica: which examples, how transformed.

The order of examples is a function of (seed, epoch), the augmentation of (seed, epoch,
example): neither depends on how many replicas or workers share a global batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from scalenet_tf.decoding import decode_image, decode_part
from scalenet_tf.preprocessing import EvaluationTransform, resize_and_crop
from scalenet_training.data.splits import Split

# images (batch, size, size, 3), labels (batch,), weights (batch,): 0 marks padding
Batch = tuple[tf.Tensor, tf.Tensor, tf.Tensor]
Context = tf.distribute.InputContext

_PADDING = 4
_CROP_AREA = (0.08, 1.0)
_CROP_ASPECT_RATIO = (3 / 4, 4 / 3)


@dataclasses.dataclass(frozen=True)
class Transform:
    """From a stored image to the network's input."""

    image_size: int
    eval_resize: int
    augment: str
    normalization: str
    classes: int

    @classmethod
    def for_evaluation(cls, transform: EvaluationTransform, classes: int) -> Transform:
        """One that does not augment."""
        return cls(
            image_size=transform.image_size,
            eval_resize=transform.resize,
            augment="none",
            normalization=transform.normalization,
            classes=classes,
        )

    @property
    def _evaluation(self) -> EvaluationTransform:
        return EvaluationTransform(
            self.image_size, self.eval_resize, self.normalization
        )

    def evaluation(self, image: tf.Tensor) -> tf.Tensor:
        """The image resized, its centre cropped, normalised."""
        return self._evaluation(_decoded(image))

    def training(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The image augmented as the seed (2,) says, normalised."""
        if self.augment == "none":
            return self.evaluation(image)
        if self.augment == "resized-crop":
            image = _random_resized_crop(image, self.image_size, seed)
        else:
            image = resize_and_crop(_decoded(image), self.image_size, self.image_size)
            image = _random_shift(image, self.image_size, seed)
        if self.augment != "crop":
            flip_seed = tf.random.experimental.stateless_fold_in(seed, 1)
            image = tf.image.stateless_random_flip_left_right(image, flip_seed)
        return self._evaluation.normalize(image)

    def checked_label(self, label: tf.Tensor) -> tf.Tensor:
        """The label; an error where it is not one of the classes."""
        message = f"labels must be from 0 to {self.classes - 1}"
        with tf.control_dependencies(
            [
                tf.debugging.assert_non_negative(label, message),
                tf.debugging.assert_less(
                    label, tf.cast(self.classes, label.dtype), message
                ),
            ]
        ):
            return tf.identity(label)


def check_sizes(image_size: int, eval_resize: int, minimum: int) -> None:
    """Raises ValueError where images cannot be resized and cropped to these sides."""
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


def training_batches(
    split: Split,
    transform: Transform,
    batch_size: int,
    seed: int,
    epoch: int,
    start_step: int,
    sharding: str = "data",
) -> Callable[[Context], tf.data.Dataset]:
    """The full global batches of an epoch, from `start_step` on.

    Args:
        split: Examples.
        transform: From stored images to the network's input.
        batch_size: Global batch.
        seed: With the epoch, it decides the order and the augmentation.
        epoch: Counted from 0.
        start_step: Global batches to pass over.
        sharding: `"data"`: every worker goes through all references and keeps its
            part of each global batch; `"file"`: it goes through its own contiguous
            part of the split, and a global batch is made of all of these.

    Returns:
        A function for `distribute_datasets_from_function`.
    """
    mixed = np.random.default_rng((seed, epoch)).integers(2**31)

    def load(reference: Any) -> Batch:
        example = split.fetch(reference)
        pair = tf.stack([tf.constant(mixed), tf.cast(example["id"], tf.int64)])
        image = transform.training(example["image"], pair)
        label = transform.checked_label(example["label"])
        return image, label, tf.ones((), image.dtype)

    def batches(context: Context) -> tf.data.Dataset:
        own, taken = split, batch_size
        workers = context.num_input_pipelines
        if sharding == "file":
            own = split.part(context.input_pipeline_id, workers)
            taken, workers = batch_size // workers, 1
        references = own.references((seed, epoch))
        references = references.take(split.size // batch_size * taken)
        references = references.skip(start_step * taken)
        if workers > 1:
            references = _own_references(references, batch_size, context)
        return _loaded(references, load, batch_size, context)

    return batches


def evaluation_batches(
    split: Split, transform: Transform, batch_size: int
) -> Callable[[Context], tf.data.Dataset]:
    """Every example once, in order; padding of weight 0 fills the last global batch.

    Returns:
        A function for `distribute_datasets_from_function`.
    """
    padding = -split.size % batch_size

    def load(reference: Any, weight: tf.Tensor) -> Batch:
        example = split.fetch(reference)
        image = transform.evaluation(example["image"])
        label = transform.checked_label(example["label"])
        return image, label, tf.cast(weight, image.dtype)

    def batches(context: Context) -> tf.data.Dataset:
        references = split.references(None)
        filler = references.take(1).repeat().take(padding)
        weighted = references.map(lambda reference: (reference, 1.0)).concatenate(
            filler.map(lambda reference: (reference, 0.0))
        )
        if context.num_input_pipelines > 1:
            weighted = _own_references(weighted, batch_size, context)
        return _loaded(weighted, load, batch_size, context)

    return batches


def _own_references(
    references: tf.data.Dataset, batch_size: int, context: Context
) -> tf.data.Dataset:
    """This worker's part of every global batch; their number is a multiple of it."""
    part = batch_size // context.num_input_pipelines
    start = part * context.input_pipeline_id

    def own_part(batch: tf.Tensor) -> tf.Tensor:
        return batch[start : start + part]

    return (
        references.batch(batch_size)
        .map(lambda *batch: tf.nest.map_structure(own_part, batch))
        .unbatch()
    )


def _loaded(
    references: tf.data.Dataset,
    load: Callable[..., Batch],
    batch_size: int,
    context: Context,
) -> tf.data.Dataset:
    """What the references stand for, in batches of a replica."""
    examples = references.map(
        load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    replica_batch = context.get_per_replica_batch_size(batch_size)
    return examples.batch(replica_batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def _decoded(image: tf.Tensor) -> tf.Tensor:
    return decode_image(image) if image.dtype == tf.string else image


def _random_shift(image: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Pads with black on all sides and crops at random, as He et al., 2016."""
    side = size + 2 * _PADDING
    image = tf.image.pad_to_bounding_box(image, _PADDING, _PADDING, side, side)
    return tf.image.stateless_random_crop(image, (size, size, 3), seed)


def _random_resized_crop(image: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Crops a random part of random aspect ratio and resizes it, as Inception."""
    if image.dtype == tf.string:
        crop = decode_part(image, lambda sides: _random_part(sides, seed))
    else:
        top, left, height, width = tf.unstack(_random_part(tf.shape(image)[:2], seed))
        crop = image[top : top + height, left : left + width]
    crop = tf.image.resize(crop, (size, size), antialias=True)
    return tf.ensure_shape(crop, (size, size, 3))


def _random_part(sides: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Top, left, height and width of a random part of an image of these sides."""
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.concat([sides, [3]], 0),
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=seed,
        min_object_covered=0.0,
        aspect_ratio_range=_CROP_ASPECT_RATIO,
        area_range=_CROP_AREA,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], extent[:2]], 0)
