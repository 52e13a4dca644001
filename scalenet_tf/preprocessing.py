"""From images to what the networks take, and from their output to class names.

TensorFlow is imported by what works on tensors, when it is called.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import importlib.resources
import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from scalenet_tf.decoding.resizing import MAX_RESIZED_PIXELS, resize_and_crop_array
from scalenet_tf.extras import deferred

if TYPE_CHECKING:
    import tensorflow as tf

    from scalenet_tf.decoding import decode_image
else:
    __getattr__ = deferred(__name__, {"scalenet_tf.decoding": ("decode_image",)})

__all__ = [
    "STATISTICS",
    "EvaluationTransform",
    "decode_image",
    "decode_predictions",
    "imagenet_classes",
    "preprocess_input",
    "resize_and_crop",
]

# Mean and standard deviation of each RGB channel, for pixels from 0 to 1.
STATISTICS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = (
    MappingProxyType(
        {
            "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
            "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
            "centered": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
            "none": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
        }
    )
)


def preprocess_input(x: Any, statistics: str = "imagenet") -> Any:
    """Normalises RGB images: `(x / 255 - mean) / standard deviation`.

    Args:
        x: Pixels from 0 to 255, `(..., 3)`: a NumPy array, nested lists, or a tensor
            of Keras, of its backend or of TensorFlow.
        statistics: Whose mean and standard deviation: `"imagenet"` (those of the
            authors' PyTorch models), `"cifar10"`, `"cifar100"`, `"centered"` (pixels
            from -1 to 1), or `"none"` (pixels from 0 to 255, as they are, for a
            network with a `Rescaling` or `Normalization` of its own).

    Returns:
        The same shape: a tensor of its own floating type (float32 for integers) where
        a tensor came, else a float32 NumPy array. `x` is left as it was.

    Raises:
        ValueError: Unknown statistics, or the last dimension is not 3.
    """
    check_statistics("statistics", statistics)
    cast = _cast_of(x)
    if cast is None:
        x = np.asarray(x, dtype=np.float32)
    if not x.shape or x.shape[-1] != 3:
        raise ValueError(
            "`x` must be RGB images with channels last, (..., 3). "
            f"Received: shape {tuple(x.shape)}."
        )
    mean, deviation = (255.0 * np.asarray(part) for part in STATISTICS[statistics])
    if cast is None:
        return ((x - mean) / deviation).astype(np.float32)

    import keras

    if not keras.backend.is_float_dtype(x.dtype):
        x = cast(x, "float32")
    dtype = keras.backend.standardize_dtype(x.dtype)
    return (x - cast(mean, dtype)) / cast(deviation, dtype)


def _cast_of(x: Any) -> Callable[[Any, str], Any] | None:
    """The cast for a tensor of TensorFlow, Keras or its backend; None for others.

    Of a framework that was not imported there is no tensor.
    """
    tf, keras = (sys.modules.get(name) for name in ("tensorflow", "keras"))
    if tf is not None and tf.is_tensor(x):
        return tf.cast  # whatever the backend: images come by tf.data
    if keras is not None and (
        keras.ops.is_tensor(x) or keras.backend.is_keras_tensor(x)
    ):
        return keras.ops.cast
    return None


def resize_and_crop(images: tf.Tensor, size: int, resize: int) -> tf.Tensor:
    """Resizes the shorter side to `resize` and crops the centre: for evaluation.

    Args:
        images: `(height, width, 3)`, or a batch of such, pixels from 0 to 255, of any
            type and size.
        size: Side of the crop, at most `resize`.
        resize: New length of the shorter side.

    Returns:
        `(size, size, 3)`, or a batch of such, float32.

    Raises:
        tf.errors.InvalidArgumentError: An image has no pixels, or is so narrow that all
            together would have more than `MAX_RESIZED_PIXELS` before they are cropped.

    Source: the evaluation of the PyTorch models (resize 256, centre crop 224);
    bilinear with antialiasing, as PIL resizes.
    """
    import tensorflow as tf

    if size == resize and images.shape[-3:] == (size, size, 3):
        return tf.cast(images, tf.float32)
    shape = tf.shape(images, tf.int64)  # products are beyond int32
    sides = shape[-3:-1]
    resized_sides = sides * resize // tf.reduce_min(sides)
    with tf.control_dependencies([_assert_small(shape, resized_sides, resize)]):
        resized_sides = tf.cast(resized_sides, tf.int32)
    resized = tf.image.resize(images, resized_sides, antialias=True)
    top, left = tf.unstack((resized_sides - size) // 2)
    cropped = tf.image.crop_to_bounding_box(resized, top, left, size, size)
    return tf.ensure_shape(cropped, (*images.shape[:-3], size, size, 3))


def _assert_small(
    shape: tf.Tensor, resized_sides: tf.Tensor, resize: int
) -> tf.Operation | None:
    import tensorflow as tf

    pixels = tf.reduce_prod(tf.concat([shape[:-3], resized_sides], 0))
    # Unlike tf.debugging.Assert it makes no condition, which costs more than the check.
    return tf.raw_ops.Assert(
        condition=pixels <= MAX_RESIZED_PIXELS,
        data=[
            "images must not be so narrow that all together have more than "
            f"{MAX_RESIZED_PIXELS} pixels once their shorter side has {resize}. "
            "Received: shape",
            shape,
        ],
        summarize=4,
    )


@dataclasses.dataclass(frozen=True)
class EvaluationTransform:
    """From images to the network's input, as evaluation and serving make it.

    Attributes:
        image_size: Side of the network's input.
        resize: Length of the shorter side before the centre is cropped.
        normalization: Statistics, as for `preprocess_input`.

    Raises:
        ValueError: There are no such statistics, or the sides do not fit or are not
            whole numbers.
    """

    image_size: int
    resize: int
    normalization: str = "imagenet"

    def __post_init__(self) -> None:
        check_statistics("normalization", self.normalization)
        for name in ("image_size", "resize"):
            try:  # a NumPy integer is one, too
                side = operator.index(getattr(self, name))
            except TypeError as error:
                raise ValueError(
                    f"`{name}` must be a whole number of pixels. Received: "
                    f"{name}={getattr(self, name)!r}."
                ) from error
            object.__setattr__(self, name, side)
        if not 1 <= self.image_size <= self.resize:
            raise ValueError(
                "`image_size` must be at least 1 and at most `resize`. Received: "
                f"image_size={self.image_size}, resize={self.resize}."
            )

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """The network's input, of a decoded image or a batch of one size."""
        return self.normalize(self.crop(images))

    def crop(self, images: tf.Tensor) -> tf.Tensor:
        """The images resized and their centres cropped, pixels from 0 to 255."""
        return resize_and_crop(images, self.image_size, self.resize)

    def normalize(self, images: tf.Tensor) -> tf.Tensor:
        """Pixels from 0 to 255 as the network takes them, in Keras' float type."""
        import keras
        import tensorflow as tf

        images = tf.cast(images, keras.config.floatx())
        return preprocess_input(images, self.normalization)

    def of_array(self, image: np.ndarray) -> np.ndarray:
        """The network's input, of a decoded image, without TensorFlow.

        Args:
            image: `(height, width, 3)`, pixels from 0 to 255.

        Returns:
            `(image_size, image_size, 3)` float32.

        Raises:
            ResizeError: The image is too narrow.
        """
        crop = resize_and_crop_array(image, self.image_size, self.resize)
        mean, deviation = (
            (255.0 * np.asarray(part)).astype(np.float32)
            for part in STATISTICS[self.normalization]
        )
        return (crop - mean) / deviation  # in float32, as tensors are normalised

    @property
    def value_range(self) -> tuple[float, float]:
        """The lowest and the highest value that `normalize` can give."""
        mean, deviation = (np.array(part) for part in STATISTICS[self.normalization])
        return float(min(-mean / deviation)), float(max((1 - mean) / deviation))

    def pixels(self, images: np.ndarray) -> np.ndarray:
        """Pixels from 0 to 255, not rounded, of what `normalize` gave."""
        mean, deviation = (np.array(part) for part in STATISTICS[self.normalization])
        return np.clip(255 * (images * deviation + mean), 0, 255)


def check_statistics(argument: str, name: str) -> None:
    """Raises ValueError where there are no such statistics."""
    if not isinstance(name, str) or name not in STATISTICS:
        raise ValueError(
            f"`{argument}` must be one of {', '.join(STATISTICS)}. "
            f"Received: {argument}={name!r}."
        )


def decode_predictions(
    preds: Any, top: int = 5, class_names: Sequence[str] | None = None
) -> list[list[tuple[str, str, float]]]:
    """Names the most likely classes of each image.

    Args:
        preds: Probabilities or logits, `(batch, classes)`.
        top: How many classes to give for each image.
        class_names: Names of the classes, for networks of other data than ImageNet.

    Returns:
        For each image, `(id, name, score)` from the highest score down; the id is the
        WordNet id for ImageNet, else the class's number.

    Raises:
        ValueError: `preds` does not have one column per class, or is not finite, or
            `top` is not a whole number of classes.
    """
    preds = np.asarray(preds)
    try:
        if preds.dtype.kind in "SU":
            raise TypeError("text")
        preds = preds.astype(np.float64)  # whose negative is one, unlike uint8's
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`preds` must be numbers. Received: {preds.dtype}."
        ) from error
    if class_names is None:
        classes = imagenet_classes()
    else:
        classes = tuple((str(index), name) for index, name in enumerate(class_names))
    if preds.ndim != 2 or preds.shape[1] != len(classes):
        raise ValueError(
            f"`preds` must be of shape (batch, {len(classes)}), one column per class"
            f"{' of ImageNet' if class_names is None else ' of `class_names`'}. "
            f"Received: shape {preds.shape}."
        )
    if not np.isfinite(preds).all():
        raise ValueError(
            "`preds` must be finite. Received: NaN or infinity, which name no class, "
            f"in the rows {np.unique(np.nonzero(~np.isfinite(preds))[0])[:5].tolist()}."
        )
    if isinstance(top, bool) or not isinstance(top, int | np.integer) or top < 1:
        raise ValueError(
            f"`top` must be a whole number, at least 1. Received: top={top!r}."
        )
    order = np.argsort(-preds, axis=1, kind="stable")[:, :top]
    return [
        [(*classes[index], float(row[index])) for index in best]
        for row, best in zip(preds, order, strict=True)
    ]


@functools.cache
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """The `(WordNet id, name)` of the 1000 classes of ImageNet-1k, in their order."""
    text = importlib.resources.files("scalenet_tf").joinpath(
        "data/imagenet_classes.csv"
    )
    rows = list(csv.reader(text.read_text(encoding="utf-8").splitlines()))
    return tuple((wnid, name) for wnid, name in rows[1:])
