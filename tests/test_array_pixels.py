"""Images without TensorFlow: the pixels of its decoder, resizing and normalisation."""

import image_samples as samples
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_decoding import FILES, WHOLE, decode_all
from test_orientation import ELSEWHERE
from test_orientation import FILES as TURNED

from scalenet_tf import decoding
from scalenet_tf.decoding import pillow
from scalenet_tf.decoding.resizing import (
    MAX_RESIZED_PIXELS,
    ResizeError,
    resize_and_crop_array,
)
from scalenet_tf.preprocessing import EvaluationTransform, resize_and_crop

SIXTEEN_BITS = samples.png(
    samples.pixels(samples.HEIGHT, 2 * samples.WIDTH),
    *(16, 0),
    samples.chunk(b"eXIf", samples.exif(6)),
)


@pytest.fixture(scope="module")
def asked():
    """Which files TensorFlow was asked to decode in its place."""
    found = []
    original = pillow._by_tensorflow
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            pillow,
            "_by_tensorflow",
            lambda data, kind: found.append(data) or original(data, kind),
        )
        yield found


def test_files_of_every_kind_have_the_pixels_of_the_graph(asked):
    files = FILES | TURNED | ELSEWHERE | {"PNG, 16 bits, turned": SIXTEEN_BITS}
    for name, expected in decode_all(files).items():
        np.testing.assert_array_equal(decoding.decode_array(files[name]), expected)
    # Of all kinds, Pillow shows or refuses these as TensorFlow does not.
    assert {name for name, data in files.items() if data in asked} == {
        "JPEG, CMYK of Adobe, inverted",
        "JPEG, YCCK of Adobe",
        "JPEG, CMYK without Adobe's mark",
        "PNG, huge text",
        "PNG, huge colour profile",
    }


def test_damage_is_refused_where_the_graph_refuses_it():
    rng = np.random.default_rng(0)
    files = {}
    for name, make in WHOLE.items():
        data = make()
        for number in range(6):
            files[name, "cut", number] = data[: rng.integers(30, len(data))]
            changed = bytearray(data)
            changed[rng.integers(len(data))] ^= 0xFF
            files[name, "changed", number] = bytes(changed)
    refused = 0
    for key, expected in decode_all(files).items():
        if expected is None:
            with pytest.raises(decoding.ImageFormatError):
                decoding.decode_array(files[key])
            refused += 1
        else:
            found = decoding.decode_array(files[key])
            np.testing.assert_array_equal(found, expected, err_msg=str(key))
    assert 30 < refused < len(files)


def test_the_reason_of_a_refusal():
    data = samples.saved(samples.photo(), "JPEG")
    for broken, reason in (
        (b"", "an empty file"),
        (data[:-40], "a JPEG that is damaged or cut off"),
        (samples.saved(samples.photo(), "PNG")[:-40], "a PNG that is damaged or cut"),
    ):
        with pytest.raises(decoding.ImageFormatError, match=reason):
            decoding.decode_array(broken)
    with pytest.raises(decoding.ImageFormatError, match="a BMP"):
        decoding.decode_array(b"BM" + bytes(60))


@settings(max_examples=40, deadline=None)
@given(
    sides=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    size=st.integers(1, 80),
    more=st.integers(0, 20),
    seed=st.integers(0, 99),
)
def test_resizing_and_cropping_equals_tensorflows(sides, size, more, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*sides, 3), np.uint8)
    found = resize_and_crop_array(image, size, size + more)
    assert (found.dtype, found.shape) == (np.float32, (size, size, 3))
    expected = resize_and_crop(image, size, size + more)
    np.testing.assert_allclose(found, expected, atol=2e-3)  # of 255


@pytest.mark.parametrize("normalization", ["imagenet", "cifar10", "none"])
def test_a_transform_of_arrays_equals_that_of_tensors(normalization):
    image = np.asarray(samples.photo(size=(90, 70)))
    transform = EvaluationTransform(32, 36, normalization)
    found = transform.of_array(image)
    assert found.dtype == np.float32
    bound = 1e-5 * max(map(abs, transform.value_range))
    np.testing.assert_allclose(found, transform(image), atol=bound)
    image = np.asarray(samples.photo(size=(32, 32)))
    exact = EvaluationTransform(32, 32, normalization)
    np.testing.assert_array_equal(exact.of_array(image), exact(image))


def test_an_image_that_would_be_too_large_is_refused():
    image = np.zeros((1, MAX_RESIZED_PIXELS // 16**2 + 1, 3), np.uint8)
    with pytest.raises(ResizeError, match="131073 x 1 pixels, so narrow that it has"):
        resize_and_crop_array(image, 16, 16)
