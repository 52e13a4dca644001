"""Changes of pixels: the operations are Pillow's, all else a function of the seed."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from scalenet_training.data.pixels.changes import changes_of, jitter
from scalenet_training.data.pixels.erasing import erase, random_box
from scalenet_training.data.pixels.operations import OPERATIONS
from scalenet_training.data.pixels.policies import POLICIES, apply_policy
from scalenet_training.settings.training import TrainConfig

RANDOM = np.random.default_rng(0)
NOISE = RANDOM.integers(0, 256, (33, 33, 3), np.uint8)
_SMALL = Image.fromarray(RANDOM.integers(0, 256, (6, 5, 3), np.uint8))
SMOOTH = np.asarray(_SMALL.resize((61, 47), Image.Resampling.BICUBIC))
DULL = (SMOOTH // 3 + 40).astype(np.uint8)
FLAT = np.full((9, 7, 3), (0, 77, 255), np.uint8)
IMAGES = {"noise": NOISE, "smooth": SMOOTH, "dull": DULL, "flat": FLAT}
GREY = (128, 128, 128)


def moved(*matrix):
    def transform(image):
        return image.transform(
            image.size,
            Image.Transform.AFFINE,
            matrix,
            Image.Resampling.NEAREST,
            fillcolor=GREY,
        )

    return transform


def enhanced(kind):
    return lambda amount: lambda image: kind(image).enhance(amount)


# Name -> from an amount to Pillow's operation, and amounts.
FACTORS = (0.0, 0.01, 0.37, 1.0, 1.3, 1.99)
PILLOW = {
    "brightness": (enhanced(ImageEnhance.Brightness), FACTORS),
    "color": (enhanced(ImageEnhance.Color), FACTORS),
    "contrast": (enhanced(ImageEnhance.Contrast), FACTORS),
    "sharpness": (enhanced(ImageEnhance.Sharpness), FACTORS),
    "posterize": (lambda n: lambda i: ImageOps.posterize(i, n), range(2, 9)),
    "solarize": (lambda n: lambda i: ImageOps.solarize(i, n), (0, 1, 128, 256)),
    "equalize": (lambda _: ImageOps.equalize, (0,)),
    "autocontrast": (lambda _: ImageOps.autocontrast, (0,)),
    "identity": (lambda _: lambda image: image, (0,)),
    "shear_x": (lambda n: moved(1, n, 0, 0, 1, 0), (-0.9, 0.13, 0.3)),
    "shear_y": (lambda n: moved(1, 0, 0, n, 1, 0), (-0.9, 0.13, 0.3)),
    "translate_x": (lambda n: moved(1, 0, n, 0, 1, 0), (-4, 0, 30)),
    "translate_y": (lambda n: moved(1, 0, 0, 0, 1, n), (-4, 0, 30)),
    "rotate": (
        lambda n: lambda i: i.rotate(n, Image.Resampling.NEAREST, fillcolor=GREY),
        (-135, -30, 7, 90),
    ),
}


@pytest.mark.parametrize("pixels", IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_gives_the_pixels_of_pillow(name, pixels):
    theirs, amounts = PILLOW[name]
    for amount in amounts:
        ours = OPERATIONS[name](tf.constant(pixels), tf.constant(amount, tf.float32))
        assert ours.dtype == tf.uint8
        expected = np.asarray(theirs(amount)(Image.fromarray(pixels)))
        differ = (ours.numpy() != expected).any(-1).mean()
        # Of two pixels that are equally near, either may be taken.
        assert differ <= (0.01 if name == "rotate" else 0.0), amount


def options(**changes):
    return TrainConfig(**changes)


def seed(number):
    return tf.constant([7, number], tf.int64)


def chained(changes, pair, pixels=NOISE):
    pixels = tf.constant(pixels)
    for change in changes:
        pixels = change(pixels, pair)
    return pixels


def applied(changes, pixels, number):
    return chained(changes, seed(number), pixels).numpy()


ALL = {
    "policy": "randaugment",
    "color_jitter": 0.4,
    "random_erasing": 1.0,
}


@pytest.mark.parametrize(
    "policy",
    [pytest.param("randaugment", marks=pytest.mark.slow), "trivialaugment"],
)
def test_changes_are_a_function_of_the_seed_alone(policy):
    changes = changes_of(options(**ALL | {"policy": policy}))
    assert len(changes) == 3
    images = [applied(changes, NOISE, number) for number in range(3)]
    assert not np.array_equal(images[0], images[1])
    seeds = tf.data.Dataset.from_tensor_slices([seed(n) for n in (2, 0, 1, 2)])
    again = seeds.map(lambda pair: chained(changes, pair), num_parallel_calls=2)
    for number, image in zip((2, 0, 1, 2), again, strict=True):
        np.testing.assert_array_equal(image, images[number])


def test_nothing_is_changed_by_default():
    assert changes_of(options()) == ()


def test_changes_have_seeds_of_their_own():
    """Written down: a run that later versions resume sees the same pixels."""
    fold = tf.random.experimental.stateless_fold_in
    pixels = tf.constant(NOISE)
    erased = applied(changes_of(options(random_erasing=1.0)), NOISE, 3)
    np.testing.assert_array_equal(erased, erase(pixels, fold(seed(3), 4), 1.0))
    jittered = applied(changes_of(options(color_jitter=0.4)), NOISE, 3)
    np.testing.assert_array_equal(jittered, jitter(pixels, fold(seed(3), 3), 0.4))
    chosen = options(policy="trivialaugment")
    changed = apply_policy(chosen, pixels, fold(seed(3), 2))
    np.testing.assert_array_equal(applied(changes_of(chosen), NOISE, 3), changed)


OPERATIONS_TABLE = "scalenet_training.data.pixels.operations.OPERATIONS"


def policy_results(chosen, count=60):
    """What a policy makes of images of -1, for some seeds; operations fill them."""

    @tf.function
    def result(number):
        pair = tf.stack([tf.constant(7, tf.int64), number])
        return apply_policy(chosen, tf.fill((64, 64, 3), -1.0), pair)[0, 0, 0]

    return np.array([result(tf.constant(n, tf.int64)) for n in range(count)])


@pytest.mark.parametrize("name", ["randaugment", "trivialaugment"])
def test_a_policy_chooses_all_of_its_operations(name, monkeypatch):
    operations = list(POLICIES[name].ranges)
    assert sorted(operations) == sorted(OPERATIONS)
    marks = {
        name: lambda pixels, amount, mark=mark: tf.fill(pixels.shape, float(mark))
        for mark, name in enumerate(operations)
    }
    monkeypatch.setattr(OPERATIONS_TABLE, marks)
    chosen = policy_results(options(policy=name), 200)
    assert set(chosen) == set(range(14))


def amounts_of(policy, operation, monkeypatch, **changes):
    """The amounts that an operation gets, where it is the only one."""
    table = {
        "identity": lambda pixels, amount: pixels,
        operation: lambda pixels, amount: tf.fill(pixels.shape, amount),
    }
    monkeypatch.setattr(OPERATIONS_TABLE, table)
    row = POLICIES[policy]
    only = dataclasses.replace(row, ranges={operation: row.ranges[operation]})
    monkeypatch.setattr(
        "scalenet_training.data.pixels.policies.POLICIES", {policy: only}
    )
    changes = {"policy_operations": 1} | changes
    return policy_results(options(policy=policy, **changes))


def test_the_magnitude_is_the_strength_of_randaugment(monkeypatch):
    changes = {"policy_magnitude": 5.0}
    factors = amounts_of("randaugment", "brightness", monkeypatch, **changes)
    np.testing.assert_allclose(np.unique(factors), [0.55, 1.45], rtol=1e-6)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("posterize", [4]),
        ("solarize", [0]),
        ("rotate", [-30, 30]),
        ("translate_x", [-64 * 150 / 331, 64 * 150 / 331]),
    ],
)
def test_the_largest_magnitude_is_the_end_of_the_range(
    operation, expected, monkeypatch
):
    amounts = amounts_of("randaugment", operation, monkeypatch, policy_magnitude=10.0)
    np.testing.assert_allclose(np.unique(amounts), expected, rtol=1e-6)


def test_the_deviation_spreads_the_magnitude(monkeypatch):
    changes = {"policy_magnitude": 5.0, "policy_deviation": 1.0}
    bits = amounts_of("randaugment", "posterize", monkeypatch, **changes)
    strengths = (8 - bits) / 4
    assert strengths.mean() == pytest.approx(0.5, abs=0.05)
    assert strengths.std() == pytest.approx(0.1, abs=0.03)


def test_trivialaugment_has_any_strength(monkeypatch):
    degrees = amounts_of("trivialaugment", "rotate", monkeypatch)
    levels = np.abs(degrees) / 135 * 30
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)
    assert levels.min() < 3
    assert levels.max() > 27


def test_the_probability_of_an_operation(monkeypatch):
    changes = {"policy_probability": 0.25, "policy_operations": 1}
    amounts = amounts_of("randaugment", "solarize", monkeypatch, **changes)
    assert np.mean(amounts >= 0) == pytest.approx(0.25, abs=0.15)


def test_jitter_leaves_grey_of_full_range_grey():
    grey = np.repeat(NOISE[..., :1], 3, -1)
    out = jitter(tf.constant(grey), seed(0), 0.4).numpy()
    assert (out == out[..., :1]).all()
    assert not np.array_equal(out, grey)
    np.testing.assert_array_equal(jitter(tf.constant(grey), seed(0), 0.0), grey)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(8, 64), st.integers(8, 64))
def test_an_erased_rectangle_has_the_area_and_the_shape_of_the_paper(n, high, wide):
    top, left, height, width = random_box(tf.constant([high, wide]), seed(n)).numpy()
    assert 0 <= top <= high - height
    assert 0 <= left <= wide - width
    if height:
        # Sides are rounded by half a pixel at most.
        assert (height - 0.5) * (width - 0.5) <= 0.4 * high * wide
        assert (height + 0.5) * (width + 0.5) >= 0.02 * high * wide
        assert (height - 0.5) / (width + 0.5) <= 1 / 0.3
        assert (width - 0.5) / (height + 0.5) <= 1 / 0.3


def test_erasing_changes_a_rectangle_and_nothing_else():
    pixels = np.full((32, 32, 3), -1.0, np.float32)
    changed = erase(tf.constant(pixels), seed(1), 1.0).numpy()
    rows, columns = np.nonzero((changed >= 0).all(-1))
    top, left, height, width = random_box(
        tf.constant([32, 32]), tf.random.experimental.stateless_fold_in(seed(1), 1)
    ).numpy()
    assert len(rows) == height * width > 0
    assert (rows.min(), columns.min()) == (top, left)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (height, width)
    noise = changed[top : top + height, left : left + width]
    assert noise.std() == pytest.approx(255 / 12**0.5, rel=0.2)


def test_erasing_meets_its_probability():
    pixels = tf.zeros((16, 16, 3))

    def changed(number):
        pair = tf.stack([tf.constant(7, tf.int64), number])
        return tf.reduce_any(erase(pixels, pair, 0.25) > 0)

    part = np.mean(list(tf.data.Dataset.range(200).map(changed)))
    assert part == pytest.approx(0.25, abs=0.08)
