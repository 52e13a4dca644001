import itertools

import image_folders as images
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scalenet_training.data.augmentation import find_augmentation
from scalenet_training.data.batches import evaluation_batches, training_batches
from scalenet_training.data.sources import open_source
from scalenet_training.data.splits import IndexedSplit
from scalenet_training.data.transform import Transform

from scalenet_tf.preprocessing import (
    EvaluationTransform,
    decode_image,
    preprocess_input,
    resize_and_crop,
)


def transform_of(augment, size=32, resize=None, normalization="centered"):
    evaluation = EvaluationTransform(size, resize or size, normalization)
    return Transform(evaluation, 10, find_augmentation(augment))


CROP = transform_of("crop")


@pytest.fixture(scope="module")
def digits():
    return open_source("digits", None, False)


def context(workers=1, worker=0, replicas=1):
    return tf.distribute.InputContext(workers, worker, replicas)


def collect(batches):
    """Images and labels of the examples that count, in order."""
    images, labels, weights = (
        np.concatenate([np.asarray(batch[part]) for batch in batches])
        for part in range(3)
    )
    return images[weights > 0], labels[weights > 0]


def test_digits_are_divided_once_and_for_all(digits):
    train, validation, everything = (
        digits.open_split(name).indices for name in ("train", "validation", "all")
    )
    assert (len(train), len(validation), len(everything)) == (1438, 359, 1797)
    assert set(train) | set(validation) == set(everything)
    assert digits.class_names == tuple("0123456789")


def test_slices_follow_the_grammar_of_tensorflow_datasets(digits):
    train = digits.open_split("train").indices
    for spec, expected in [
        ("train[:100]", train[:100]),
        ("train[-5:]", train[-5:]),
        ("train[:50%]", train[:719]),
    ]:
        np.testing.assert_array_equal(digits.open_split(spec).indices, expected)


def test_an_epoch_has_every_example_of_full_batches_once(digits):
    split = digits.open_split("train[:100]")
    orders = []
    for epoch in (0, 1):
        batches = training_batches(split, CROP, 32, 7, epoch, 0)(context())
        _, labels = collect(batches)
        assert len(labels) == 96
        order = list(split.references((7, epoch)).as_numpy_iterator())
        assert sorted(order) == sorted(split.indices)
        orders.append(order)
    assert orders[0] != orders[1]


def test_starting_within_an_epoch_gives_what_was_left(digits):
    split = digits.open_split("train[:100]")
    whole = list(training_batches(split, CROP, 16, 0, 3, 0)(context()))
    rest = list(training_batches(split, CROP, 16, 0, 3, 4)(context()))
    assert (len(whole), len(rest)) == (6, 2)
    for expected, actual in zip(whole[4:], rest, strict=True):
        np.testing.assert_array_equal(actual[0], expected[0])


@pytest.mark.parametrize(("workers", "replicas"), [(1, 2), (1, 4), (2, 2), (2, 4)])
def test_replicas_share_the_global_batches_of_one(digits, workers, replicas):
    split = digits.open_split("train[:100]")
    make = training_batches(split, CROP, 16, 0, 0, 0)
    expected = list(make(context()))
    parts = [list(make(context(workers, w, replicas))) for w in range(workers)]
    share = replicas // workers
    for step, (batch, labels, _) in enumerate(expected):
        shares = [p[step * share : (step + 1) * share] for p in parts]
        together = list(itertools.chain(*shares))
        np.testing.assert_array_equal(np.concatenate([b[0] for b in together]), batch)
        np.testing.assert_array_equal(np.concatenate([b[1] for b in together]), labels)


@pytest.mark.parametrize(("workers", "replicas"), [(1, 1), (1, 4), (2, 2)])
def test_evaluation_has_every_example_once(digits, workers, replicas):
    split = digits.open_split("all")
    make = evaluation_batches(split, CROP, 64)
    parts = [list(make(context(workers, w, replicas))) for w in range(workers)]
    assert {len(part) for part in parts} == {29 * replicas // workers}
    labels = np.concatenate([collect(part)[1] for part in parts])
    assert len(labels) == 1797
    everything = collect(make(context()))[1]
    np.testing.assert_array_equal(np.sort(labels), np.sort(everything))


@pytest.mark.parametrize("augment", ["crop", "crop-flip", "resized-crop"])
def test_augmentation_is_a_function_of_seed_epoch_and_example(digits, augment):
    transform = transform_of(augment)
    split = digits.open_split("train[:20]")

    def images(seed, epoch):
        refs = split.references((seed, epoch)).as_numpy_iterator()
        batches = training_batches(split, transform, 20, seed, epoch, 0)(context())
        return dict(zip(refs, collect(batches)[0], strict=True))

    first, again = images(0, 0), images(0, 0)
    later, other = images(0, 1), images(1, 0)
    for key, image in first.items():
        np.testing.assert_array_equal(again[key], image)
    for changed in (later, other):
        same = [np.array_equal(changed[key], image) for key, image in first.items()]
        assert np.mean(same) < 0.5


def test_crop_shifts_by_at_most_four_pixels():
    image = np.zeros((32, 32, 3), np.uint8)
    image[16, 16] = 255
    shifts = set()
    for number in range(60):
        shifted = CROP.for_training(tf.constant(image), tf.constant([0, number]))
        row, column = np.argwhere(shifted.numpy()[..., 0] > 0)[0]
        shifts.add((row - 16, column - 16))
    assert min(min(shift) for shift in shifts) == -4
    assert max(max(shift) for shift in shifts) == 4


def test_evaluation_is_resize_centre_crop_and_normalisation(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 30, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    data = tf.io.read_file(str(tmp_path / "a.png"))
    np.testing.assert_array_equal(decode_image(data), pixels)
    resized = Image.fromarray(pixels).resize((96, 64), Image.Resampling.BILINEAR)
    expected = np.asarray(resized)[4:60, 20:76]
    cropped = resize_and_crop(pixels, 56, 64)
    assert np.abs(cropped - expected).max() <= 1.0
    transform = transform_of("crop", 56, 64, "imagenet")
    np.testing.assert_allclose(
        transform.for_evaluation(data), preprocess_input(cropped), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_resized_crop_takes_encoded_images_of_any_size(tmp_path, suffix):
    rng = np.random.default_rng(0)
    transform = transform_of("resized-crop", 48)
    for index, size in enumerate([(9, 200, 3), (300, 40, 3), (64, 64, 3)]):
        path = str(tmp_path / f"{index}.{suffix}")
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(path)
        image = transform.for_training(tf.io.read_file(path), tf.constant([0, index]))
        assert image.shape == (48, 48, 3)


def test_grey_images_become_rgb(tmp_path):
    Image.fromarray(np.full((40, 40), 77, np.uint8)).save(tmp_path / "grey.jpg")
    image = decode_image(tf.io.read_file(str(tmp_path / "grey.jpg")))
    np.testing.assert_array_equal(image, np.full((40, 40, 3), 77))


@pytest.mark.runs
def test_cifar10_in_memory_and_streamed_are_the_same(data_dir, monkeypatch):
    from scalenet_training.data.kinds import prepared_splits

    transform = transform_of("crop-flip", normalization="cifar10")
    folder = f"{data_dir}/tfds"
    split = open_source("cifar10", folder, False).open_split("test[:70]")
    assert isinstance(split, IndexedSplit)
    monkeypatch.setattr(prepared_splits, "_MEMORY_LIMIT", 0)
    streamed = open_source("cifar10", folder, False).open_split("test[:70]")
    assert not isinstance(streamed, IndexedSplit)
    results = [
        collect(evaluation_batches(part, transform, 32)(context()))
        for part in (split, streamed)
    ]
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])
    np.testing.assert_array_equal(split.labels, results[0][1])
    batches = [
        list(training_batches(streamed, transform, 32, 0, 0, start)(context()))
        for start in (0, 0, 1)
    ]
    np.testing.assert_array_equal(batches[0][1][0], batches[1][1][0])
    np.testing.assert_array_equal(batches[0][1][0], batches[2][0][0])


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_sharding_by_file_gives_each_worker_a_part_of_its_own(digits, workers):
    split = digits.open_split("train[:101]")
    transform = transform_of("none")
    seen = []
    for worker in range(workers):
        batches = training_batches(split, transform, 8, 0, 0, 0, sharding="file")
        labels = collect(list(batches(context(workers, worker, workers))))[1]
        own = split.part(worker, workers)
        assert len(labels) == 101 // 8 * (8 // workers)
        assert own.size == 101 // workers
        later = training_batches(split, transform, 8, 0, 0, 5, sharding="file")
        rest = collect(list(later(context(workers, worker, workers))))[1]
        np.testing.assert_array_equal(rest, labels[5 * (8 // workers) :])
        seen.append(set(own.indices))
    assert len(set().union(*seen)) == 101 // workers * workers


def test_parts_of_a_folder_have_their_share_of_each_class(tmp_path):
    folder = images.make(tmp_path, ("a", "b"), 20)
    split = open_source(folder, None, False).open_split("train")
    counts = [np.bincount(split.part(worker, 3).labels) for worker in range(3)]
    np.testing.assert_allclose(counts, split.size / 6, atol=1)
