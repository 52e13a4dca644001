"""What a server process answers to requests that are wrong, and that it lives on."""

import itertools
import signal

import feeding
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_CIFAR
from random_requests import LIMIT, RandomRequests
from situations import situation
from test_export import NAMES, PHOTOS, TRANSFORM, TRUNCATED, classifier, evaluated

import scalenet_tf
from scalenet_tf import export
from scalenet_tf.export.savedmodel import signatures

pytestmark = pytest.mark.processes

AREA = "requests to a server"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Exports: of a fixed size, twice, one of which refuses corrupt images; of any."""
    repository = tmp_path_factory.mktemp("repository")
    kinds = {
        "tiny": ({}, {}),
        "refusing": ({}, {"on_corrupt": "error"}),
        "any size": ({"input_shape": (None, None, 3)}, {}),
    }
    for name, (options, settings) in kinds.items():
        directory = repository / name / "1"
        export.save_savedmodel(
            classifier(**options), directory, TRANSFORM, NAMES, **settings
        )
    return {name: repository / name / "1" for name in kinds}


@pytest.fixture(scope="module")
def right():
    """A right request to each signature."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), np.uint8)
    normalized = evaluated(PHOTOS[:2]).numpy()
    return {
        "serving_default": normalized,
        "serving_uint8": pixels,
        "serving_bytes": np.array(PHOTOS[:2], object),
        "features": normalized,
    }


class Watched:
    """A server, and what it answers to right requests."""

    def __init__(self, server, right):
        self.ask = server.ask
        self.right = right
        self.expected = {}

    def check(self, model, signature):
        """Asks what is right again: the answer is what it was at first."""
        outputs = self.ask(model, signature, self.right[signature])
        expected = self.expected.setdefault((model, signature), outputs)
        key = "features" if signature == "features" else "logits"
        assert np.isfinite(outputs[key]).all()
        np.testing.assert_allclose(outputs[key], expected[key], rtol=1e-5, atol=1e-6)

    def refusal(self, model, signature, values):
        self.check(model, signature)
        with pytest.raises(feeding.RefusedError) as refusal:
            self.ask(model, signature, values)
        self.check(model, signature)
        assert refusal.value.kind == "InvalidArgumentError"
        return feeding.words(refusal.value.message)


@pytest.fixture(scope="module")
def server(folders, right):
    with feeding.Server(folders) as process:
        yield Watched(process, right)
    assert process.process.returncode == 0


def floats(*shape, value=0.5):
    return np.full(shape, value, np.float32)


def spoilt(value):
    images = floats(4, 32, 32, 3)
    images[2, 5, 6, 1] = value
    return images


def pixels(*shape):
    return np.full(shape, 99, np.uint8)


def strings(*shape, data=PHOTOS[0]):
    return np.full(shape, data, object)


SHAPE = "is not compatible with expected shape [?,32,32,3]"
NONE = "`images` must be (batch, 32, 32, 3), float32, as preprocess_input leaves them"
NUMBERS = "with means of the squares, at most 18.1, of] [{}]"
PIXELS = "is not compatible with expected shape [?,?,?,3]"
NO_PIXELS = "`images` must be (batch, height, width, 3), uint8, pixels from 0 to 255"
RANK = "is not compatible with expected shape [?]"
BYTES = f"`image_bytes` must be (batch,), the content of image files: 1 to {LIMIT} of"
ANY_SIZE = "sides of 2 or more, at most 16777216 pixels together"
WRONG = {
    "serving_default": {
        "numbers, [[1, 2]]": (floats(1, 2), SHAPE),
        "one number": (floats(), SHAPE),
        "one image, not in a batch": (floats(32, 32, 3), SHAPE),
        "channels first": (floats(1, 3, 32, 32), SHAPE),
        "grey images": (floats(1, 32, 32, 1), SHAPE),
        "images with transparency": (floats(1, 32, 32, 4), SHAPE),
        "images of another size": (floats(1, 40, 32, 3), SHAPE),
        "five dimensions": (floats(1, 1, 32, 32, 3), SHAPE),
        "five dimensions, the last empty": (floats(1, 32, 32, 3, 0), SHAPE),
        "an empty batch": (floats(0, 32, 32, 3), NONE),
        "NaN": (spoilt(np.nan), NUMBERS.format("0.25 0.25 nan 0.25")),
        "an infinity": (spoilt(-np.inf), NUMBERS.format("0.25 0.25 inf 0.25")),
        "the number 1e38": (spoilt(1e38), NUMBERS.format("0.25 0.25 inf 0.25")),
        "pixels as floats": (
            np.arange(2 * 32 * 32 * 3, dtype=np.float32).reshape(2, 32, 32, 3) % 256,
            "pixels from 0 to 255 must go through preprocess_input first",
        ),
        "float64": (floats(1, 32, 32, 3).astype("d"), "to be float but double"),
        "strings": (strings(1), "to be float but string"),
    },
    "features": {
        "numbers, [[1, 2]]": (floats(1, 2), SHAPE),
        "NaN": (spoilt(np.nan), NUMBERS.format("0.25 0.25 nan 0.25")),
    },
    "serving_uint8": {
        "numbers, [[1, 2]]": (pixels(1, 2), PIXELS),
        "one image, not in a batch": (pixels(40, 40, 3), PIXELS),
        "grey images": (pixels(1, 40, 40, 1), PIXELS),
        "images of no height": (pixels(1, 0, 40, 3), NO_PIXELS),
        "images of 1 x 100000 pixels": (pixels(1, 1, 100000, 3), "more than 33554432"),
        "more images than memory is for": (pixels(LIMIT + 1, 1, 1, 3), f"1 to {LIMIT}"),
        "floats": (floats(1, 40, 40, 3), "to be uint8 but float"),
    },
    "serving_bytes": {
        "one file, not in a batch": (strings(), RANK),
        "files in two dimensions": (strings(1, 1), RANK),
        "an empty batch": (strings(0), BYTES),
        "more files than memory is for": (strings(LIMIT + 1, data=b""), BYTES),
        "numbers": (floats(1), "to be string but float"),
    },
}


def of_situations(table):
    return [
        pytest.param(
            *(signature, *entry),
            marks=situation(AREA, f"`{signature}`: {name}"),
            id=f"{signature}: {name}",
        )
        for signature, entries in table.items()
        for name, entry in entries.items()
    ]


@pytest.mark.parametrize(("signature", "values", "reason"), of_situations(WRONG))
def test_wrong_requests_are_refused_with_the_reason(
    server, signature, values, reason, outcome
):
    message = server.refusal("tiny", signature, values)
    assert reason in message
    outcome(f"refused: {message}")


def is_close(outputs, expected):
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


@situation(AREA, "`serving_default`: noise in place of images")
def test_noise_is_answered(server, outcome):
    noise = np.random.default_rng(0).standard_normal((2, 32, 32, 3), np.float32)
    outputs = server.ask("tiny", "serving_default", noise)
    is_close(outputs["probabilities"].sum(1), 1)
    outcome("answered: whether it shows anything is not checked")


@situation(AREA, "`serving_uint8`: images of 1 pixel")
def test_an_image_of_a_pixel_is_answered(server, outcome):
    outputs = server.ask("tiny", "serving_uint8", pixels(3, 1, 1, 3))
    larger = server.ask("tiny", "serving_uint8", pixels(3, 50, 60, 3))
    is_close(outputs["logits"], larger["logits"])
    outcome("answered: resized as any other")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(data, marks=situation(AREA, f"`serving_bytes`: {name}"), id=name)
        for name, data in {
            "text among files": b"no image",
            "an empty string among files": b"",
            "a file that is cut off, among files": TRUNCATED,
            "a picture of 1 x 100000 pixels among files": None,
        }.items()
    ],
)
def test_what_is_no_image_is_marked_and_the_others_answered(server, data, outcome):
    if data is None:
        data = tf.io.encode_png(np.zeros((1, 100_000, 3), np.uint8)).numpy()
    batch = np.array([PHOTOS[0], data, PHOTOS[1]], object)
    outputs = server.ask("tiny", "serving_bytes", batch)
    alone = server.ask("tiny", "serving_bytes", batch[::2])
    assert outputs["valid"].tolist() == [True, False, True]
    is_close(outputs["logits"][::2], alone["logits"])
    assert not outputs["logits"][1].any()
    outcome("answered: `valid` is false for it, the others have their classes")


@situation(AREA, '`serving_bytes` with `on_corrupt="error"`: text among files')
def test_what_is_no_image_is_refused_where_that_was_asked_for(server, outcome):
    batch = np.array([PHOTOS[0], b"no image", PHOTOS[1]], object)
    message = server.refusal("refusing", "serving_bytes", batch)
    assert "cannot be decoded at the indices (counted from 0) [1]" in message
    outcome(f"refused: {message}")


@situation(AREA, "a network of any size: images below its smallest")
def test_a_network_of_any_size_has_a_smallest(server, outcome):
    assert scalenet_tf.ScaleNet(TINY_CIFAR, input_shape=(2, 2, 3))
    for shape in [(1, 1, 40, 3), (1, 40, 1, 3), (1, 0, 0, 3)]:
        message = server.refusal("any size", "serving_default", floats(*shape))
        assert ANY_SIZE in message
    smallest = server.ask("any size", "serving_default", floats(1, 2, 2, 3))
    assert np.isfinite(smallest["logits"]).all()
    outcome(f"refused: {message}")


def test_without_the_checks_the_same_request_reaches_a_convolution(
    tmp_path, right, monkeypatch
):
    """That it is asked in a way in which TensorFlow lets it through.

    Convolutions of oneDNN, which TensorFlow chooses by the processor, end the process.
    """
    monkeypatch.setattr(signatures, "guarded_images", lambda images, _: images)
    export.save_savedmodel(classifier(), tmp_path / "1", TRANSFORM, NAMES)
    with feeding.Server({"tiny": tmp_path / "1"}) as server:
        server.ask("tiny", "serving_default", right["serving_default"])
        with pytest.raises((EOFError, feeding.RefusedError)) as ended:
            server.ask("tiny", "serving_default", floats(1, 2))
    if ended.type is EOFError:
        assert server.process.returncode == -signal.SIGABRT
    else:
        assert "convolution input must be 4-dimensional" in str(ended.value)


KNOWN_WORDS = ("`image", "images must not", "Expects arg[0] to be", "Shape of tensor")


def survive(server, count):
    """Asks at random, and what is right each time; how many were answered."""
    highest = 2 * max(map(abs, TRANSFORM.value_range))
    requests = RandomRequests(0, [*PHOTOS, TRUNCATED], highest)
    answered = 0
    for model, signature, values, right in itertools.islice(requests, count):
        outputs, refusal = answer(server, model, signature, values)
        what = model, signature, values.shape, values.dtype, refusal
        assert right == (refusal is None), what
        if right:
            answered += 1
            assert {len(output) for output in outputs.values()} == {len(values)}, what
            key = "features" if signature == "features" else "probabilities"
            assert np.isfinite(outputs[key]).all(), what
        else:
            assert refusal.kind == "InvalidArgumentError", what
            assert feeding.words(refusal.message).startswith(KNOWN_WORDS), what
        server.check(model, signature)
    return answered


def answer(server, *request):
    try:
        return server.ask(*request), None
    except feeding.RefusedError as refusal:
        return None, refusal


def test_300_random_requests_are_answered_or_refused(server):
    assert 75 < survive(server, 300) < 225


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_10000_random_requests_are_answered_or_refused(server):
    assert 2500 < survive(server, 10_000) < 7500


def test_a_server_that_drops_assertions_lives_on(folders, right):
    """The shape is checked once more by an operation whose output is used."""
    with feeding.Server(folders, optimise=True) as process:
        server = Watched(process, right)
        for signature, entries in WRONG.items():
            for name, (values, _) in entries.items():
                refusal = answer(server, "tiny", signature, values)[1]
                server.check("tiny", signature)
                if values.ndim not in (1, 4):
                    assert refusal.kind == "InvalidArgumentError", (signature, name)
    assert process.process.returncode == 0
