"""Which features of TensorFlow Datasets can be used: images of 8 bits, classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

# Grey, RGB, and RGB with an alpha channel, which is dropped.
_CHANNELS = (1, 3, 4)
_WAY_OUT = (
    "Prepare the dataset with 'image' as Image() or as a Tensor of uint8, (height, "
    "width, 1, 3 or 4), pixels from 0 to 255."
)


def check_features(features: Any, name: str) -> None:
    """Checks that the examples have an image and a class that a run can use.

    Args:
        features: The features of a dataset of TensorFlow Datasets.
        name: Name of the dataset, for messages.

    Raises:
        ValueError: They have not; the message names the feature and its type.
    """
    import tensorflow_datasets as tfds

    names = list(features) if isinstance(features, tfds.features.FeaturesDict) else []
    if not {"image", "label"} <= set(names):
        raise ValueError(
            f"`dataset`: {name} must have the features image and label (a class). "
            f"It has: {', '.join(names) or describe(features)}."
        )
    problem = _image_problem(features["image"])
    if problem is not None:
        raise ValueError(
            f"`dataset`: the feature 'image' of {name} must be an image of 8 bits. "
            f"It is {describe(features['image'])}: {problem}. {_WAY_OUT}"
        )
    problem = _label_problem(features["label"])
    if problem is not None:
        raise ValueError(
            f"`dataset`: the feature 'label' of {name} must be a class, ClassLabel of "
            f"2 classes or more. It is {describe(features['label'])}: {problem}."
        )


def is_encoded(image: Any) -> bool:
    """Whether the examples hold encoded images, which are decoded when used."""
    import tensorflow_datasets as tfds

    return isinstance(image, tfds.features.Image)


def as_rgb(pixels: tf.Tensor) -> tf.Tensor:
    """Pixels of 1, 3 or 4 channels as RGB: grey repeated, alpha dropped."""
    return tf.repeat(pixels, 3, -1) if pixels.shape[-1] == 1 else pixels[..., :3]


def describe(feature: Any) -> str:
    """A feature in a few words: kind, shape and type."""
    kind = type(feature).__name__
    if kind == "ClassLabel":
        count = feature.num_classes
        return f"{kind} of {count} class{'' if count == 1 else 'es'}"
    shape, dtype = getattr(feature, "shape", None), getattr(feature, "np_dtype", None)
    if not isinstance(shape, tuple) or dtype is None:
        return kind
    sides = ", ".join("any" if side is None else str(side) for side in shape)
    return f"{kind}{sides and f' ({sides})'} of {np.dtype(dtype).name}"


def _image_problem(image: Any) -> str | None:
    import tensorflow_datasets as tfds

    kinds = tfds.features.Image, tfds.features.Tensor
    if type(image) not in kinds:
        return f"only {' and '.join(kind.__name__ for kind in kinds)} can be read"
    if image.np_dtype != np.uint8:
        return "nothing says which of its values are black and white"
    if len(image.shape) != 3:
        return f"it has {len(image.shape)} dimensions and not height, width, channels"
    channels = image.shape[2]
    if is_encoded(image):
        return None if channels in (None, *_CHANNELS) else f"it has {channels} channels"
    if channels not in _CHANNELS:
        return f"it has {'any number of' if channels is None else channels} channels"
    return "it has images of many sizes" if None in image.shape else None


def _label_problem(label: Any) -> str | None:
    import tensorflow_datasets as tfds

    if not isinstance(label, tfds.features.ClassLabel):
        return "it has no classes"
    if label.num_classes is None:
        return "the number of classes is not known"
    return None if label.num_classes > 1 else "there is nothing to tell apart"
