"""Augmentations: a table, whose rows give the same pixels in every version."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import tensorflow as tf
from scalenet_training.data.augmentation import (
    AUGMENTATIONS,
    Augmentation,
    find_augmentation,
)
from scalenet_training.data.batches import training_batches
from scalenet_training.data.errors import data_errors
from scalenet_training.data.sources import open_source
from scalenet_training.data.transform import Transform
from scalenet_training.errors import UsageError
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.loop import train_and_evaluate

from scalenet_tf.preprocessing import EvaluationTransform

# Of pixels that are moved and not computed, so that no machine rounds them otherwise.
DIGESTS = {"crop": "e58a6dbecaac6aa3", "crop-flip": "170df503dda08b6b"}
IMAGE = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)


def augmented(name, count=40, size=32):
    """An image augmented by some seeds."""
    function = AUGMENTATIONS[name].image
    seeds = [tf.constant([7, number], tf.int64) for number in range(count)]
    return np.stack([function(tf.constant(IMAGE), size, seed) for seed in seeds])


@pytest.mark.parametrize("name", DIGESTS)
def test_the_same_seed_gives_the_pixels_of_earlier_versions(name):
    pixels = augmented(name).astype(np.uint8)
    assert hashlib.sha256(pixels.tobytes()).hexdigest()[:16] == DIGESTS[name]


def test_a_resized_crop_gives_the_pixels_of_earlier_versions():
    pixels = augmented("resized-crop", 3, 8)[:, [0, 3, 7], [7, 4, 0], 0]
    expected = [
        [105.93, 108.56, 147.07],
        [121.02, 122.12, 119.98],
        [110.92, 106.07, 119.79],
    ]
    np.testing.assert_allclose(pixels, expected, atol=0.01)


def test_an_unknown_name_is_an_error_that_lists_the_table():
    message = (
        "`augment` must be one of none, crop, crop-flip, resized-crop. Received: 'flip'"
    )
    with pytest.raises(ValueError, match=message):
        find_augmentation("flip")


def test_an_error_in_an_augmentation_comes_out_as_itself():
    def broken(image, size, seed):
        raise ValueError("a bug")

    digits = open_source("digits", None, False)
    split = digits.open_split("train[:8]")
    evaluation = EvaluationTransform(32, 32, "centered")
    transform = Transform(evaluation, 10, Augmentation("broken", broken))
    batches = training_batches(split, transform, 8, seed=0, epoch=0, start_step=0)
    with pytest.raises(ValueError, match="a bug"), data_errors(split):
        list(batches(tf.distribute.InputContext()))


@pytest.fixture
def config(tiny_cifar_file):
    return TrainConfig(
        model=tiny_cifar_file,
        train_split="train[:64]",
        eval_split="validation[:16]",
        batch_size=16,
        epochs=1,
        max_steps=1,
        strategy="none",
    )


def test_an_unknown_name_is_found_before_the_data_are_opened(config, tmp_path):
    config = dataclasses.replace(config, augment="flip", dataset="/none")
    with pytest.raises(UsageError, match="`augment` must be one of none, crop"):
        train_and_evaluate(config, str(tmp_path / "run"))
    assert not (tmp_path / "run/config.json").exists()


@pytest.mark.runs
def test_an_augmentation_from_elsewhere_trains_a_run(config, tmp_path):
    """A function and a row of a table: nothing of the package is touched."""
    traced = []

    def white(image, size, seed):
        traced.append((image.shape, size, seed.shape))
        return tf.fill((size, size, 3), 255.0)

    table = {**AUGMENTATIONS, "white": Augmentation("all white", white)}
    config = dataclasses.replace(config, augment="white")
    train_and_evaluate(config, str(tmp_path / "run"), augmentations=table)
    assert traced[0] == ((32, 32, 3), 32, (2,))
    recorded = json.loads((tmp_path / "run/config.json").read_text())
    assert recorded["config"]["augment"] == "white"
