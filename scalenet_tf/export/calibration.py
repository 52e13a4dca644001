"""Images that show an int8 conversion the range of the activations.

What is wrong with them shows in no error of the converter: the file is written, and
its answers are those of another network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from scalenet_tf.export.inputs import ImageInput, as_floats
from scalenet_tf.export.interface import ExportError
from scalenet_tf.preprocessing import EvaluationTransform

# Of the width of the range of values: what 16-bit types round to.
_ROUNDING = 0.01
_NAME = "calibration"


def calibration_images(
    batches: Iterable[Any], transform: EvaluationTransform
) -> Iterator[np.ndarray]:
    """The images of all batches, `(height, width, 3)` float32, checked on the way.

    Raises:
        ExportError: There is no image, or one is not as `preprocess_input` leaves it,
            or all are of one colour, or are pixels divided by 255.
    """
    lowest, highest, varied = np.inf, -np.inf, False
    start = 0
    for batch in batches:
        images = _checked(batch, start, transform)
        start += len(images)
        lowest, highest = min(lowest, images.min()), max(highest, images.max())
        varied = varied or bool(np.ptp(images, axis=(1, 2)).any())
        yield from images
    if not start:
        raise ExportError("`calibration` must have images. Received none.")
    if not varied:
        raise ExportError(
            "`calibration` must have images that show something. Received: "
            f"{start} of one colour each."
        )
    if lowest >= 0 and highest <= 1:
        raise ExportError(
            f"`calibration` must be {_wanted(transform)}. Received: values from "
            f"{lowest:.2f} to {highest:.2f} in all {start} images, as of pixels "
            "divided by 255. If they are normalised, add images with dark parts."
        )


def _checked(batch: Any, start: int, transform: EvaluationTransform) -> np.ndarray:
    """A batch as float32; `start` images came before it."""
    side = transform.image_size
    shape = ImageInput(side, side, side, "float32", None, None, name=_NAME)
    images = shape.check(as_floats(batch, _NAME))
    low, high = transform.value_range
    leeway = _ROUNDING * (high - low)
    within = (images >= low - leeway) & (images <= high + leeway)  # not NaN
    bad = np.flatnonzero(~within.all(axis=(1, 2, 3)))
    if bad.size:
        image = images[bad[0]]
        raise ExportError(
            f"`calibration` must be {_wanted(transform)}. Received: image "
            f"{start + bad[0]} (counted from 0) with values from {image.min():.4g} to "
            f"{image.max():.4g}; pixels from 0 to 255 must go through preprocess_input "
            "first."
        )
    return images


def _wanted(transform: EvaluationTransform) -> str:
    low, high = transform.value_range
    return (
        f"images as preprocess_input(..., {transform.normalization!r}) leaves them, "
        f"from {low:.2f} to {high:.2f}"
    )
