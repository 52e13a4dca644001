"""Images that an int8 conversion is calibrated with: what is refused, and why."""

import os

import numpy as np
import pytest
from situations import situation
from test_export import NAMES, PHOTOS, TRANSFORM, classifier, evaluated

from scalenet_tf import export
from scalenet_tf.export.calibration import calibration_images
from scalenet_tf.preprocessing import EvaluationTransform, decode_image

AREA = "int8 calibration"
IMAGES = evaluated().numpy()
RAW = np.stack([TRANSFORM.crop(decode_image(data)) for data in PHOTOS])


def with_value(value):
    images = IMAGES.copy()
    images[3, 2, 1, 0] = value
    return images


OTHER = EvaluationTransform(32, 36, "imagenet").normalize(RAW).numpy()
WRONG = {
    "pixels from 0 to 255": ([RAW], r"-1.99 to 2.13. Received: image 0 .* to 253.3; "),
    "pixels in the second batch": ([IMAGES, RAW], r"Received: image 4 \(counted from"),
    "pixels divided by 255": (
        [RAW / 255],
        r"all 4 images, as of pixels divided by",
    ),
    "pixels of a whole type": ([RAW.astype(np.uint8)], r"floating type.*type uint8"),
    "images normalised by other statistics": ([OTHER], r"'cifar10'\) leaves them"),
    "NaN": ([with_value(np.nan)], r"image 3 \(counted from 0\) with values from nan"),
    "an infinity": ([with_value(np.inf)], r"image 3 \(counted from 0\) .* to inf"),
    "images of another size": ([IMAGES[:, :31]], r"\(batch, 32, 32, 3\).*\(4, 31, 32"),
    "images that are not in batches": (IMAGES, r"\(batch, 32, 32, 3\).*\(32, 32, 3\)"),
    "channels first": ([np.moveaxis(IMAGES, 3, 1)], r"\(4, 3, 32, 32\)"),
    "images of one colour": ([IMAGES * 0], r"show something. Received: 4 of one"),
    "no images": ([], r"have images. Received none"),
    "an empty batch": ([IMAGES[:0]], r"1 or more images. Received: shape \(0, 32"),
}


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        pytest.param(*entry, marks=situation(AREA, name), id=name)
        for name, entry in WRONG.items()
    ],
)
def test_images_that_are_not_normalised_are_refused(batches, message, outcome):
    with pytest.raises(ValueError, match=r"`calibration` must .*" + message) as error:
        list(calibration_images(batches, TRANSFORM))
    outcome(f"refused: {error.value}")


@situation(AREA, "images as preprocess_input leaves them")
def test_images_come_through_one_by_one(outcome):
    images = list(calibration_images([IMAGES[:3], IMAGES[3:]], TRANSFORM))
    np.testing.assert_array_equal(images, IMAGES)
    outcome("taken as they are")


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_other_floating_types_are_taken(dtype):
    import ml_dtypes

    kind = {"float64": np.float64, "bfloat16": ml_dtypes.bfloat16}[dtype]
    white = EvaluationTransform(32, 36, "cifar10").normalize(RAW * 0 + 255).numpy()
    batch = np.concatenate([IMAGES, white]).astype(kind)
    (image, *_) = calibration_images([batch], TRANSFORM)
    assert image.dtype == np.float32


def test_nothing_is_written_of_a_refused_calibration(tmp_path):
    with pytest.raises(ValueError, match="pixels from 0 to 255 must go through"):
        export.convert_tflite(
            classifier(),
            tmp_path / "a.tflite",
            TRANSFORM,
            NAMES,
            quantization="int8",
            input_type="uint8",
            calibration=[RAW],
        )
    assert not os.listdir(tmp_path)
