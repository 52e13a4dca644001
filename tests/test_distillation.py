"""Learning from a teacher: the loss, what a teacher may be, and runs."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_CIFAR
from hypothesis import given
from hypothesis import strategies as st
from scalenet_training.errors import SettingError, UsageError
from scalenet_training.networks.exported_files import sha256
from scalenet_training.networks.logits import logits_of
from scalenet_training.networks.random_statistics import draw_statistics
from scalenet_training.networks.teacher import Teacher, open_teacher
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.loop import train_and_evaluate
from scalenet_training.train.step import Distillation
from scalenet_training.train.step.distillation import divergence_of
from scipy.special import log_softmax
from test_loop import DIGITS, assert_same_weights, rows_without_speed, saved_weights

import scalenet_tf
from scalenet_tf.export import convert_tflite, save_savedmodel
from scalenet_tf.preprocessing import EvaluationTransform, preprocess_input

SIDE = TINY_CIFAR.native_size
NAMES = list("abcd")
PIXELS = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3))
LOGITS = st.lists(st.floats(-20, 20), min_size=4, max_size=4)


def transform(normalization="cifar10", side=SIDE):
    return EvaluationTransform(side, side, normalization)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    model = scalenet_tf.ScaleNet(
        TINY_CIFAR, input_shape=(SIDE, SIDE, 3), classes=len(NAMES)
    )
    draw_statistics(model)
    return model


@given(LOGITS, LOGITS, st.floats(0.5, 8))
def test_the_divergence_is_that_of_kullback_and_leibler(teacher, student, temperature):
    expected, got = (
        log_softmax(np.array(logits) / temperature) for logits in (teacher, student)
    )
    reference = temperature**2 * np.sum(np.exp(expected) * (expected - got))
    arrays = (tf.constant([logits], tf.float64) for logits in (teacher, student))
    value = divergence_of(*arrays, temperature).numpy()
    np.testing.assert_allclose(value, [reference], rtol=1e-9, atol=1e-9)
    assert value[0] >= -1e-9
    same = tf.constant([teacher], tf.float64)
    np.testing.assert_allclose(divergence_of(same, same, temperature), [0], atol=1e-12)


def test_the_temperature_leaves_the_size_of_gradients():
    """At a high temperature they are those of a squared distance of centred logits."""
    teacher, student = np.random.default_rng(0).normal(size=(2, 5, 4))
    logits = tf.Variable(student)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(divergence_of(tf.constant(teacher), logits, 1e4))
    centred = [x - x.mean(1, keepdims=True) for x in (student, teacher)]
    expected = (centred[0] - centred[1]) / 4
    np.testing.assert_allclose(tape.gradient(total, logits), expected, atol=1e-3)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_the_loss_is_shared_between_labels_and_teacher(share):
    teacher = Teacher(lambda images: 2 * images, "")
    distillation = Distillation(teacher, share, 3.0)
    images, logits = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("f4")
    targets = distillation.targets(tf.constant(images))
    np.testing.assert_array_equal(targets, 2 * images)
    losses = tf.range(5.0)
    got = distillation.mixed(losses, tf.constant(logits), targets)
    divergence = divergence_of(targets, tf.constant(logits), 3.0)
    np.testing.assert_allclose(got, (1 - share) * losses + share * divergence)


@pytest.fixture(scope="module")
def places(network, tmp_path_factory):
    """The network as a file and as exports."""
    folder = tmp_path_factory.mktemp("teacher")
    network.save(folder / "teacher.keras")
    options = (transform("imagenet"), NAMES)
    save_savedmodel(network, folder / "models" / "1", *options)
    convert_tflite(network, folder / "teacher.tflite", *options)
    return folder


@pytest.mark.parametrize(
    ("name", "student", "own"),
    [
        ("teacher.keras", "cifar10", "cifar10"),  # nothing says what it takes
        ("models/1", "imagenet", "imagenet"),
        ("models", "none", "imagenet"),
        ("models", "cifar10", "imagenet"),
    ],
)
def test_a_teacher_sees_what_it_was_trained_on(places, network, name, student, own):
    teacher = open_teacher(str(places / name), transform(student), NAMES)
    images = tf.constant(preprocess_input(PIXELS, student))
    expected = logits_of(network)(preprocess_input(PIXELS, own), training=False)
    np.testing.assert_allclose(teacher.logits(images), expected, rtol=1e-3, atol=1e-3)


def test_smaller_images_are_enlarged(places, network):
    side = SIDE // 2
    teacher = open_teacher(str(places / "teacher.keras"), transform(side=side), NAMES)
    images = preprocess_input(PIXELS[:, :side, :side], "cifar10")
    enlarged = tf.image.resize(images, (SIDE, SIDE))
    expected = logits_of(network)(enlarged, training=False)
    np.testing.assert_allclose(teacher.logits(tf.constant(images)), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "names", "side", "message"),
    [
        ("teacher.keras", NAMES[1:], SIDE, "must have the 3 classes .* with 4."),
        ("models", ["a", "b", "d", "c"], SIDE, "'c' in the place of 'd'"),
        ("models", NAMES, 2 * SIDE, f"images of {2 * SIDE} pixels .* for {SIDE}."),
        ("teacher.tflite", NAMES, SIDE, "of the format savedmodel. .* tflite."),
        ("other.keras", NAMES, SIDE, "must be the folder of a run .*'.*other.keras'"),
    ],
)
def test_a_teacher_fits_the_student(places, name, names, side, message):
    with pytest.raises(SettingError, match=f"`teacher` .*{message}"):
        open_teacher(str(places / name), transform(side=side), names)


@pytest.mark.parametrize("name", ["teacher_share", "teacher_temperature"])
def test_what_is_said_of_a_teacher_needs_one(name):
    message = f"`{name}` must stand with `teacher`. Received: 0.7 alone."
    with pytest.raises(SettingError, match=message):
        TrainConfig(**{name: 0.7})


@pytest.fixture
def config(tmp_path):
    (tmp_path / "tiny.json").write_text(json.dumps(TINY_CIFAR.to_record()))
    return dataclasses.replace(
        DIGITS,
        model=str(tmp_path / "tiny.json"),
        train_split="train[:64]",
        eval_split="validation[:32]",
        epochs=2,
    )


@pytest.mark.runs
def test_a_run_learns_from_a_run_and_resumes(config, tmp_path):
    teacher = tmp_path / "teacher"
    train_and_evaluate(dataclasses.replace(config, epochs=1), str(teacher))
    taught = dataclasses.replace(
        config, teacher=str(teacher), teacher_share=1.0, teacher_temperature=2.0, seed=1
    )
    whole = train_and_evaluate(taught, str(tmp_path / "whole"))
    assert whole["loss"] > 0
    record = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert record["teacher"] == sha256(str(teacher / "best.keras"))
    for steps in (3, None):
        part = dataclasses.replace(taught, max_steps=steps)
        train_and_evaluate(part, str(tmp_path / "parts"))
    folders = tmp_path / "parts", tmp_path / "whole"
    assert_same_weights(*map(saved_weights, folders))
    assert rows_without_speed(folders[0]) == rows_without_speed(folders[1])
    model = keras.saving.load_model(teacher / "best.keras")
    model.layers[-2].bias.assign_add(tf.ones(10))
    model.save(teacher / "best.keras")
    more = dataclasses.replace(taught, epochs=3)
    with pytest.raises(UsageError, match=r"differs in teacher: .* the teacher's"):
        train_and_evaluate(more, str(tmp_path / "whole"))
