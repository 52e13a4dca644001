"""Training on images of another size than evaluation and what is saved."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_CIFAR
from scalenet_training.data.augmentation import find_augmentation
from scalenet_training.data.transform import Transform
from scalenet_training.errors import UsageError
from scalenet_training.recipes.presets import PRESETS
from scalenet_training.train.loop import train_and_evaluate
from scalenet_training.train.plan import prepare

from scalenet_tf.preprocessing import EvaluationTransform

pytestmark = pytest.mark.runs

SIDES = {"train_size": 20, "image_size": 32, "eval_resize": 40}


@pytest.fixture
def config(tiny_cifar_file):
    """Two epochs of four steps on digits of 20 pixels, evaluated at 32."""
    return dataclasses.replace(
        PRESETS["digits"].config,
        model=tiny_cifar_file,
        train_split="train[:128]",
        eval_split="validation[:50]",
        epochs=2,
        **SIDES,
    )


@pytest.mark.parametrize("augment", ["none", "crop", "resized-crop"])
def test_images_of_training_and_of_evaluation(augment):
    evaluation = EvaluationTransform(32, 40, "centered")
    augmentation = find_augmentation(augment)
    transform = Transform(evaluation, 10, augmentation, train_size=20)
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    image = tf.io.encode_png(pixels)
    assert transform.for_evaluation(image).shape == (32, 32, 3)
    trained = transform.for_training(image, tf.constant([1, 2], tf.int64))
    assert trained.shape == (20, 20, 3)
    if augment == "none":
        small = EvaluationTransform(20, 25, "centered")
        np.testing.assert_array_equal(trained, small(pixels))


def test_the_saved_network_takes_images_of_evaluation(config, tmp_path):
    folder = tmp_path / "run"
    row = train_and_evaluate(config, str(folder))
    saved = keras.saving.load_model(folder / "last.keras")
    assert saved.input_shape == (None, 32, 32, 3)
    record = json.loads((folder / "config.json").read_text())
    assert (record["image_size"], record["eval_resize"]) == (32, 40)
    assert record["config"]["train_size"] == 20
    assert record["macs"] == TINY_CIFAR.macs(10)
    # What was evaluated is what is saved, at its size.
    plan = prepare(config)
    plan.final_model.set_weights(saved.get_weights())
    assert plan.learner.model.input_shape == (None, 20, 20, 3)
    images, labels = evaluated(plan)
    logits = saved.predict(images, verbose=0)
    assert np.mean(logits.argmax(1) != labels) == pytest.approx(row["val_top1_error"])


def evaluated(plan):
    """The images and labels of the evaluation split."""
    split, transform = plan.eval_split, plan.transform
    examples = [split.fetch(reference) for reference in split.references(None)]
    images = [transform.for_evaluation(example["image"]) for example in examples]
    return np.stack(images), np.array([int(e["label"]) for e in examples])


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"ema": 0.9}, marks=pytest.mark.slow),
        {"swa_start": 0.5, "swa_batches": 0},  # statistics are those of the size
    ],
)
def test_weights_are_those_of_the_network_that_trains(config, options, tmp_path):
    """Or their average, which is the same as of a run evaluated at the other size."""
    config = dataclasses.replace(config, **options)
    train_and_evaluate(config, str(tmp_path / "two"))
    same = {"image_size": 20, "eval_resize": 25, "train_size": None}
    train_and_evaluate(dataclasses.replace(config, **same), str(tmp_path / "one"))
    one, two = (
        keras.saving.load_model(tmp_path / name / "last.keras").get_weights()
        for name in ("one", "two")
    )
    for left, right in zip(one, two, strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_stopped_run_goes_on_as_if_undisturbed(config, tmp_path):
    row = train_and_evaluate(config, str(tmp_path / "whole"))
    stopped = dataclasses.replace(config, max_steps=6)
    train_and_evaluate(stopped, str(tmp_path / "parts"))
    resumed = train_and_evaluate(config, str(tmp_path / "parts"))
    row.pop("images_per_second")
    resumed.pop("images_per_second")
    assert resumed == row


def test_a_size_below_the_least_is_refused_by_its_name(config, tmp_path):
    small = dataclasses.replace(config, train_size=1)
    with pytest.raises(UsageError, match=r"`train_size` must be at least .*: 1\."):
        train_and_evaluate(small, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_the_recipe_that_is_tested_at_another_size():
    recipe = PRESETS["rsb-a3"].config
    assert (recipe.train_size, recipe.image_size, recipe.eval_resize) == (160, 224, 236)
