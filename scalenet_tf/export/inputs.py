"""What an exported model takes: shapes, types and values, and how it says so.

The same facts stand in the graph of a SavedModel (`savedmodel.guards`)
and before the runtimes that run files (`runtime`). Imports no TensorFlow by itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scalenet_tf.preprocessing import EvaluationTransform

# Pixels of all images of a request, as the network sees them: a feature map of the
# first stage is then 1 GiB in float32, in ImageNet and in CIFAR networks.
MAX_PIXELS = 2**24
# How far the root mean square of an image's values may be above what is possible.
# Noise in place of images stays below, pixels from 0 to 255 that are not black do not.
_LEEWAY = 2.0


@dataclasses.dataclass(frozen=True)
class ImageInput:
    """An input of images: what it may hold, and the words of a refusal.

    Attributes:
        height: Sides of an image in pixels; `None`: any.
        width: As `height`.
        smallest: Smallest side where sides are free.
        dtype: `"float32"` for images as `preprocess_input` leaves them, `"uint8"` for
            pixels.
        values: Lowest and highest value that `preprocess_input` can leave; `None` for
            pixels; `None` also where they are not looked at.
        max_batch: Images at most; `None`: any number.
        name: What the input is called.
    """

    height: int | None
    width: int | None
    smallest: int
    dtype: str
    values: tuple[float, float] | None
    max_batch: int | None
    name: str = "images"

    @property
    def shape(self) -> tuple[int | None, int | None, int | None, int]:
        """The shape, with `None` for free dimensions."""
        return (None, self.height, self.width, 3)

    @property
    def lowest_shape(self) -> tuple[int, int, int, int]:
        """The smallest size of each dimension."""
        return (1, self.height or self.smallest, self.width or self.smallest, 3)

    @property
    def highest_shape(self) -> tuple[int, int, int, int]:
        """The largest size of each dimension."""
        largest = 2**31 - 1
        return (
            self.max_batch or largest,
            self.height or largest,
            self.width or largest,
            3,
        )

    @property
    def limits_pixels(self) -> bool:
        """Whether `MAX_PIXELS` is a limit of its own, beside `max_batch`."""
        free = None in (self.height, self.width)
        return free and self.values is not None and self.max_batch is not None

    @property
    def highest_mean_square(self) -> float:
        """Largest mean of the squares of an image; there must be `values`."""
        assert self.values is not None
        low, high = self.values
        return (_LEEWAY * max(abs(low), abs(high))) ** 2

    @property
    def rule(self) -> str:
        """What it must be."""
        height, width = self.height or "height", self.width or "width"
        count = "1 or more" if self.max_batch is None else f"1 to {self.max_batch}"
        limits = f"{count} images"
        if None in (self.height, self.width):
            limits += f", sides of {self.smallest} or more"
        if self.limits_pixels:
            limits += f", at most {MAX_PIXELS} pixels together"
        shape = f"(batch, {height}, {width}, 3)"
        return f"`{self.name}` must be {shape}, {self.kind}: {limits}"

    @property
    def values_rule(self) -> str:
        """What its values must be; there must be `values`."""
        assert self.values is not None
        low, high = self.values
        return f"finite, from {low:.2f} to {high:.2f}{self._advice}"

    @property
    def shape_refusal(self) -> str:
        """What to say of another shape, which goes into the braces."""
        return f"{self.rule}. Received: shape {{}}."

    @property
    def kind(self) -> str:
        """Type and meaning of the values, in words."""
        if self.dtype == "uint8":
            return "uint8, pixels from 0 to 255"
        return "float32, as preprocess_input leaves them"

    @property
    def number_refusal(self) -> str:
        """What to say of NaN and infinities, of the image whose index goes in."""
        return (
            f"`{self.name}` must be finite numbers. Received: NaN or an infinity in "
            "image {} (counted from 0)."
        )

    @property
    def range_refusal(self) -> str:
        """What to say of values that no image has: index, lowest and highest go in."""
        assert self.values is not None
        low, high = self.values
        return (
            f"`{self.name}` must be as preprocess_input leaves them, from {low:.2f} to "
            f"{high:.2f}. Received: image {{}} (counted from 0) with values from {{}} "
            f"to {{}}{self._advice}."
        )

    @property
    def _advice(self) -> str:
        if self.values is None or self.values[1] >= 255:  # pixels are what it takes
            return ""
        return "; pixels from 0 to 255 must go through preprocess_input first"

    def check(self, images: Any) -> np.ndarray:
        """The images as an array.

        Raises:
            ValueError: A model cannot take them, or they are no images.
        """
        images = as_array(images, self.name)
        shape = images.shape
        sizes = zip(self.lowest_shape, shape, self.highest_shape, strict=False)
        fits = len(shape) == 4 and all(low <= size <= high for low, size, high in sizes)
        if not fits or (self.limits_pixels and images.size > 3 * MAX_PIXELS):
            raise ValueError(self.shape_refusal.format(shape))
        if images.dtype != self.dtype:
            raise ValueError(
                f"`{self.name}` must be {self.kind}. Received: type {images.dtype}."
            )
        if self.values is not None:
            self._check_values(images)
        return images

    def _check_values(self, images: np.ndarray) -> None:
        rows = images.reshape(len(images), -1)
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.einsum("ij,ij->i", rows, rows) / rows.shape[1]
        bad = np.flatnonzero(~(squares <= self.highest_mean_square))
        if not bad.size:
            return
        row = rows[bad[0]]
        if np.isfinite(row).all():
            raise ValueError(self.range_refusal.format(bad[0], row.min(), row.max()))
        raise ValueError(self.number_refusal.format(bad[0]))


@dataclasses.dataclass(frozen=True)
class EncodedInput:
    """An input `image_bytes`: how many images a request may hold."""

    max_batch: int

    @property
    def shape_refusal(self) -> str:
        """What to say of another shape, which goes into the braces."""
        return (
            "`image_bytes` must be (batch,), the content of image files: 1 to "
            f"{self.max_batch} of them. Received: shape {{}}."
        )


def as_array(images: Any, name: str = "images") -> np.ndarray:
    """An array of what stands for one.

    Raises:
        ValueError: It does not, such as lists of different lengths.
    """
    try:
        return np.asarray(images)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must be one array, or lists of one length. Received: {error}"
        ) from error


def as_floats(images: Any, name: str = "images") -> np.ndarray:
    """A float32 array of what stands for one of a floating type.

    Raises:
        ValueError: It does not; whole numbers are pixels, and not normalised images.
    """
    images = as_array(images, name)
    if images.dtype.kind in "biuOSU":
        raise ValueError(
            f"`{name}` must be of a floating type, as preprocess_input leaves them. "
            f"Received: type {images.dtype}."
        )
    return images.astype(np.float32, copy=False)


def normalized_input(
    sides: Sequence[int | None], smallest: int, transform: EvaluationTransform
) -> ImageInput:
    """What the network itself takes, in a request."""
    height, width = sides
    most = largest_batch(height or smallest, width or smallest)
    values = transform.value_range
    return ImageInput(height, width, smallest, "float32", values, most)


def pixels_input(transform: EvaluationTransform) -> ImageInput:
    """Pixels of any one size, in a request."""
    return ImageInput(None, None, 1, "uint8", None, encoded_input(transform).max_batch)


def encoded_input(transform: EvaluationTransform) -> EncodedInput:
    """Encoded images of any sizes, in a request."""
    return EncodedInput(largest_batch(transform.image_size, transform.image_size))


def largest_batch(height: int, width: int) -> int:
    """How many images of a size a request may have."""
    return max(1, MAX_PIXELS // (height * width))


def file_input(
    content: Mapping[str, Any], transform: EvaluationTransform
) -> ImageInput:
    """What an exported model takes, by the metadata that were kept with it."""
    side = transform.image_size
    # Absent in files, which take one size, and in SavedModels of older versions.
    height, width = content.get("image_sides", (side, side))
    smallest = content.get("smallest_side", side)
    pixels = content.get("input_type") == "uint8"
    dtype, values = ("uint8", None) if pixels else ("float32", transform.value_range)
    return ImageInput(height, width, smallest, dtype, values, max_batch=None)
