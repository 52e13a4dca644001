"""What exported models take: the same refusals in a graph and before a runtime."""

import numpy as np
import pytest
import tensorflow as tf
from test_export import TRANSFORM

from scalenet_tf.export.inputs import ImageInput, largest_batch, normalized_input
from scalenet_tf.export.savedmodel.guards import guarded_images
from scalenet_tf.preprocessing import EvaluationTransform

FIXED = normalized_input((32, 32), 2, TRANSFORM)
FREE = normalized_input((None, None), 2, TRANSFORM)
PIXELS = ImageInput(None, None, 1, "uint8", None, max_batch=9)


@pytest.fixture(scope="module")
def guards():
    """The check of each input as a function of a graph, of any shape."""

    def function(wanted):
        spec = [tf.TensorSpec(None, wanted.dtype)]
        return tf.function(
            lambda images: guarded_images(images, wanted), input_signature=spec
        )

    return {id(wanted): function(wanted) for wanted in (FIXED, FREE, PIXELS)}


def refusals(guards, wanted, images):
    """What the graph says, and what is said before a runtime runs."""
    with pytest.raises(tf.errors.InvalidArgumentError) as in_graph:
        guards[id(wanted)](tf.constant(images))
    with pytest.raises(ValueError) as before:
        wanted.check(images)
    return in_graph.value.message, str(before.value)


@pytest.mark.parametrize("wanted", [FIXED, FREE, PIXELS], ids=["32", "any", "uint8"])
@pytest.mark.parametrize(
    "shape", [(), (3,), (32, 3), (32, 32, 3), (1, 1, 32, 32, 3), (1, 32, 32, 3, 0)]
)
def test_another_rank_is_refused(guards, wanted, shape):
    in_graph, before = refusals(guards, wanted, np.zeros(shape, wanted.dtype))
    assert f"`images` must be (batch, {wanted.height or 'height'}, " in before
    assert before.endswith(f"Received: shape {shape}.")
    expected = ",".join(str(size or "?") for size in wanted.shape)
    received = ",".join(map(str, shape))
    words = f"[{received}] is not compatible with expected shape [{expected}]"
    assert words in in_graph


@pytest.mark.parametrize(
    ("wanted", "shape", "part"),
    [
        (FIXED, (0, 32, 32, 3), "1 to 16384 images"),
        (FIXED, (16385, 32, 32, 3), "(batch, 32, 32, 3), float32, as preprocess_input"),
        (FREE, (1, 1, 32, 3), "sides of 2 or more, at most 16777216 pixels together"),
        (PIXELS, (10, 1, 1, 3), "1 to 9 images, sides of 1 or more"),
        (PIXELS, (1, 8, 0, 3), "uint8, pixels from 0 to 255"),
    ],
)
def test_another_size_is_refused(guards, wanted, shape, part):
    for message in refusals(guards, wanted, np.zeros(shape, wanted.dtype)):
        assert part in message


def means_of_squares(message):
    """What a graph tells of the images, one number each."""
    told = message.partition("at most 18.1, of] [")[2].partition("]")[0]
    return [float(number) for number in told.split()]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", [0, 2])
def test_what_is_no_number_is_refused_with_its_image(guards, value, index):
    images = np.zeros((3, 32, 32, 3), np.float32)
    images[index, 4, 5, 1] = value
    in_graph, before = refusals(guards, FIXED, images)
    assert f"NaN or an infinity in image {index} (counted from 0)" in before
    told = means_of_squares(in_graph)
    assert np.flatnonzero(~np.isfinite(told)).tolist() == [index]


@pytest.mark.parametrize("value", [200, 1e25, 3e38])
def test_values_that_no_image_has_are_refused_with_their_image(guards, value):
    images = np.zeros((3, 32, 32, 3), np.float32)
    images[1:, :, 7:] = value
    in_graph, before = refusals(guards, FIXED, images)
    assert "from -1.99 to 2.13. Received: image 1 (counted from 0)" in before
    assert "values from 0" in before
    first, *others = means_of_squares(in_graph)
    assert first == 0
    assert min(others) > FIXED.highest_mean_square
    for message in in_graph, before:
        assert "from -1.99 to 2.13" in message
        assert "pixels from 0 to 255 must go through preprocess_input" in message


@pytest.mark.parametrize("statistics", ["imagenet", "cifar10", "cifar100", "centered"])
def test_images_and_noise_pass_and_dark_pixels_do_not(statistics):
    transform = EvaluationTransform(32, 32, statistics)
    wanted = normalized_input((32, 32), 4, transform)
    extremes = np.array([0, 255], np.float32)[:, None, None, None]
    normalized = transform.normalize(np.broadcast_to(extremes, (2, 32, 32, 3))).numpy()
    low, high = transform.value_range
    assert (normalized.min(), normalized.max()) == pytest.approx((low, high))
    noise = np.random.default_rng(0).standard_normal((50, 32, 32, 3), np.float32)
    for images in (normalized, noise):
        assert wanted.check(images) is images
    night = np.random.default_rng(0).integers(0, 20, (1, 32, 32, 3))
    with pytest.raises(ValueError, match="must go through preprocess_input"):
        wanted.check(night.astype(np.float32))


def test_the_pixels_of_a_request_are_limited():
    assert largest_batch(224, 224) == 334
    assert largest_batch(5000, 5000) == 1
    at_most = np.broadcast_to(np.float32(0), (1, 4096, 4096, 3))
    too_many = np.broadcast_to(np.float32(0), (2, 4096, 2049, 3))
    assert FREE.check(at_most).shape == at_most.shape
    with pytest.raises(ValueError, match="at most 16777216 pixels together"):
        FREE.check(too_many)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 32, 32, 3)), "must be float32, as preprocess_input .* float64"),
        (np.zeros((1, 32, 32, 3), np.uint8), "must be float32, .*: type uint8"),
        ([[1, 2], [3]], "must be one array, or lists of one length"),
    ],
)
def test_another_type_is_refused_before_a_runtime_runs(images, message):
    with pytest.raises(ValueError, match=message):
        FIXED.check(images)


@pytest.mark.parametrize("shape", [(1, 100_000, 3), (40, 30_000, 1, 3)])
def test_what_cannot_be_resized_in_memory_is_refused(shape):
    transform = EvaluationTransform(224, 256)
    with pytest.raises(tf.errors.InvalidArgumentError, match="images must not be so n"):
        transform.crop(np.zeros(shape, np.uint8))
    assert transform.crop(np.zeros((1, 50, 3), np.uint8)).shape == (224, 224, 3)


@pytest.mark.parametrize("shape", [(0, 40, 3), (40, 0, 3), (0, 0, 3), (2, 0, 9, 3)])
def test_what_has_no_pixels_is_refused(shape):
    with pytest.raises(tf.errors.InvalidArgumentError):
        EvaluationTransform(224, 256).crop(np.zeros(shape, np.uint8))
