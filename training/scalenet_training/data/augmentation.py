"""Augmentations by the names that `--augment` takes.

To add one, write a function like those below and give it a row in `AUGMENTATIONS`.
Settings read the names from here, so TensorFlow is imported inside the functions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

from typing_extensions import Doc

if TYPE_CHECKING:
    import tensorflow as tf

_PADDING = 4  # pixels
_CROP_AREA = (0.08, 1.0)
_CROP_ASPECT_RATIO = (3 / 4, 4 / 3)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How training images are changed.

    Attributes:
        summary: What it does, for `--help`.
        image: Makes the pixels, `(size, size, 3)` from 0 to 255, from a stored image
            (encoded, or uint8 `(height, width, 3)`), the size, and a seed `(2,)`. All
            randomness comes from the seed, which is a function of the run's seed, the
            epoch and the example. None: the pixels that evaluation sees.
    """

    summary: str
    image: Callable[[tf.Tensor, int, tf.Tensor], tf.Tensor] | None = None


def decoded(image: tf.Tensor) -> tf.Tensor:
    """The pixels of a stored image, uint8 `(height, width, 3)`."""
    import tensorflow as tf

    from scalenet_tf.decoding import decode_image

    return decode_image(image) if image.dtype == tf.string else image


def crop(image: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Pads with 4 black pixels on all sides and crops at random (He et al., 2016)."""
    import tensorflow as tf

    from scalenet_tf.preprocessing import resize_and_crop

    image = resize_and_crop(decoded(image), size, size)
    side = size + 2 * _PADDING
    image = tf.image.pad_to_bounding_box(image, _PADDING, _PADDING, side, side)
    return tf.image.stateless_random_crop(image, (size, size, 3), seed)


def crop_flip(image: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Crops at random, and mirrors half of the images."""
    return _flipped(crop(image, size, seed), seed)


def resized_crop(image: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Resizes a random part of random aspect ratio, and mirrors half of the images.

    Source: Szegedy et al., "Going deeper with convolutions", 2015.
    """
    import tensorflow as tf

    from scalenet_tf.decoding import decode_part

    if image.dtype == tf.string:
        part = decode_part(image, lambda sides: _random_part(sides, seed))
    else:
        top, left, height, width = tf.unstack(_random_part(tf.shape(image)[:2], seed))
        part = image[top : top + height, left : left + width]
    pixels = tf.image.resize(part, (size, size), antialias=True)
    return _flipped(tf.ensure_shape(pixels, (size, size, 3)), seed)


def _flipped(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    seed = tf.random.experimental.stateless_fold_in(seed, 1)
    return tf.image.stateless_random_flip_left_right(pixels, seed)


def _random_part(sides: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Top, left, height and width of a random part of an image with these sides."""
    import tensorflow as tf

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


NO_AUGMENTATION = Augmentation("no augmentation")
AUGMENTATIONS: Mapping[str, Augmentation] = MappingProxyType(
    {
        "none": NO_AUGMENTATION,
        "crop": Augmentation("pad 4 pixels and crop", crop),
        "crop-flip": Augmentation("crop, and mirror at random", crop_flip),
        "resized-crop": Augmentation(
            "resize a random part of the image (8 to 100 % of its area), and mirror at "
            "random",
            resized_crop,
        ),
    }
)

_HELP = "; ".join(f"{name}: {row.summary}" for name, row in AUGMENTATIONS.items())
if TYPE_CHECKING:
    AugmentationName = str
else:
    # A caller with a table of its own has other names, so that any text is taken here,
    # and the name is looked up in the table that is used.
    AugmentationName = Annotated[Literal[tuple(AUGMENTATIONS)] | str, Doc(f"{_HELP}.")]


def find_augmentation(
    name: str, augmentations: Mapping[str, Augmentation] = AUGMENTATIONS
) -> Augmentation:
    """Looks an augmentation up.

    Raises:
        ValueError: The table has no such name.
    """
    if name not in augmentations:
        raise ValueError(
            f"`augment` must be one of {', '.join(augmentations)}. Received: {name!r}."
        )
    return augmentations[name]
