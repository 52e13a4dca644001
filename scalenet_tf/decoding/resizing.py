"""Resizing and cropping in NumPy: the pixels of `preprocessing.resize_and_crop`.

For models whose runtime is not TensorFlow, which takes seconds to import. Nothing here
imports it.
"""

from __future__ import annotations

import numpy as np

# Of a batch, once its images are resized and before they are cropped: 384 MiB in
# float32. One picture of 1 x 100,000 pixels would be 73 GiB.
MAX_RESIZED_PIXELS = 2**25


class ResizeError(ValueError):
    """An image is so narrow that it would have too many pixels once it is resized."""


def too_narrow(height: int, width: int, resize: int) -> str | None:
    """Why an image cannot be resized so that its shorter side has `resize` pixels."""
    sides = _resized_sides(height, width, resize)
    if sides[0] * sides[1] <= MAX_RESIZED_PIXELS:
        return None
    return (
        f"an image of {width} x {height} pixels, so narrow that it has more than "
        f"{MAX_RESIZED_PIXELS:,} once its shorter side has {resize}"
    )


def _resized_sides(height: int, width: int, resize: int) -> tuple[int, int]:
    shorter = min(height, width)
    return height * resize // shorter, width * resize // shorter


def resize_and_crop_array(image: np.ndarray, size: int, resize: int) -> np.ndarray:
    """Resizes the shorter side to `resize` and crops the centre, without TensorFlow.

    Args:
        image: `(height, width, 3)`, pixels from 0 to 255, of any type.
        size: Side of the crop, at most `resize`.
        resize: New length of the shorter side.

    Returns:
        `(size, size, 3)` float32: what `preprocessing.resize_and_crop` gives, up to the
        rounding of sums in float32.

    Raises:
        ResizeError: It would have more than `MAX_RESIZED_PIXELS` before it is cropped.
    """
    height, width = image.shape[:2]
    if height == width == size == resize:
        return image.astype(np.float32)
    problem = too_narrow(height, width, resize)
    if problem is not None:
        raise ResizeError(problem)
    sides = _resized_sides(height, width, resize)
    # Rows of the image, and then columns as the rows of its transpose.
    for side in sides:
        rows = _resized_rows(image, side, (side - size) // 2, size)
        image = np.ascontiguousarray(rows.swapaxes(0, 1))
    return image


def _resized_rows(image: np.ndarray, side: int, first: int, count: int) -> np.ndarray:
    """`count` rows, from `first` on, of an image whose height becomes `side`.

    A triangle as wide as two pixels of the smaller of the two sizes weighs the rows.
    Computed in float32 step by step as TensorFlow's operation ScaleAndTranslate does.
    """
    one, half = np.float32(1), np.float32(0.5)
    height = len(image)
    step = one / (np.float32(side) / np.float32(height))
    radius = max(step, one)
    centres = (np.arange(first, first + count, dtype=np.float32) + half) * step
    starts = np.clip(np.ceil(centres - radius - half), 0, height - 1).astype(int)
    ends = np.clip(np.floor(centres + radius - half), 0, height - 1).astype(int) + 1
    rows = np.empty((count, *image.shape[1:]), np.float32)
    flat = rows.reshape(count, -1)
    for row, (centre, start, end) in enumerate(zip(centres, starts, ends, strict=True)):
        places = np.arange(start, end, dtype=np.float32) + half
        weights = np.maximum(one - np.abs((places - centre) * (one / radius)), 0)
        weights = weights * (one / weights.sum())
        source = image[start:end].reshape(end - start, -1).astype(np.float32)
        np.matmul(weights, source, out=flat[row])
    return rows
