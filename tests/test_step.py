import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_CIFAR
from scalenet_training.distribution import make_statistics_average
from scalenet_training.schedule import RecipeSchedule
from scalenet_training.step import (
    Objective,
    cross_entropy,
    make_evaluation_step,
    make_train_step,
    means,
    sums,
)

import scalenet_tf

NONE = tf.distribute.get_strategy()


def batch(count=8, dtype="float32"):
    rng = np.random.default_rng(0)
    images = tf.constant(rng.standard_normal((count, 32, 32, 3)), dtype)
    return images, tf.constant(rng.integers(0, 10, count)), tf.ones(count, dtype)


def test_errors_count_ties_as_argmax_and_nan_as_wrong():
    nan = float("nan")
    logits = tf.constant(
        [[1.0, 3, 2, 0, 0, 0], [2, 2, 0, 0, 0, 0], [2, 2, 0, 0, 0, 0], [nan] * 6]
    )
    labels = tf.constant([0, 0, 1, 0])
    losses = tf.constant([1.0, 2.0, 3.0, 4.0])
    weights = tf.ones(4)
    np.testing.assert_array_equal(sums(losses, logits, labels, weights), [10, 3, 1, 4])
    result = means(sums(losses, logits, labels, tf.constant([1.0, 1.0, 0.0, 0.0])))
    assert result == {"loss": 1.5, "top1_error": 0.5, "top5_error": 0.0}


def test_padding_counts_for_nothing_whatever_it_holds():
    logits = tf.constant([[2.0, 1.0], [float("nan"), 1.0]])
    losses = tf.constant([0.5, float("inf")])
    total = sums(losses, logits, tf.constant([0, 0]), tf.constant([1.0, 0.0]))
    np.testing.assert_array_equal(total, [0.5, 0, 0, 1])


def test_label_smoothing_is_keras():
    logits, labels = tf.constant([[1.0, 2, 3], [0, 0, 9]]), tf.constant([0, 2])
    expected = keras.losses.categorical_crossentropy(
        tf.one_hot(labels, 3), logits, from_logits=True, label_smoothing=0.1
    )
    np.testing.assert_allclose(cross_entropy(logits, labels, 0.1), expected, rtol=1e-6)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("decay_all", [False, True])
def test_two_replicas_take_the_step_of_one_with_frozen_statistics(decay_all):
    """The loss over the global batch and the penalty once, however it is split."""
    objective = Objective(8, label_smoothing=0.1, weight_decay=0.1, decay_all=decay_all)
    images, labels, weights = batch(8, "float64")
    results = []
    mirrored = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    for strategy in (NONE, mirrored):
        with strategy.scope():
            keras.utils.set_random_seed(1)
            model = scalenet_tf.ScaleNet(TINY_CIFAR, classes=10)
            for layer in model._flatten_layers():
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.trainable = False
            optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
            optimizer.build(model.trainable_variables)
        step = make_train_step(model, optimizer, objective, strategy, xla=False)
        replicas = strategy.num_replicas_in_sync
        part = 8 // replicas
        for _ in range(3):
            distributed = strategy.experimental_distribute_values_from_function(
                lambda context, part=part: tuple(
                    value[part * context.replica_id_in_sync_group :][:part]
                    for value in (images, labels, weights)
                )
            )
            if replicas == 1:
                distributed = (images, labels, weights)
            totals = step(distributed)
        results.append([totals, *model.get_weights()])
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-9, atol=1e-12)


def test_statistics_of_all_replicas_become_their_mean():
    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    with strategy.scope():
        model = scalenet_tf.ScaleNet(TINY_CIFAR, classes=10)
    mean = model.get_layer("stem_bn").moving_mean
    for replica, value in enumerate(mean.value.values):
        value.assign(tf.fill(value.shape, float(replica)))
    make_statistics_average([model], strategy)()
    for value in mean.value.values:
        np.testing.assert_array_equal(value, np.full(16, 0.5))


def test_evaluation_uses_moving_statistics_and_changes_nothing():
    model = scalenet_tf.ScaleNet(TINY_CIFAR, classes=10)
    before = model.get_weights()
    images, labels, weights = batch()
    total = make_evaluation_step(model, NONE, xla=False)((images, labels, weights))
    probabilities = model(images).numpy()
    picked = probabilities[np.arange(8), labels]
    assert float(total[0]) == pytest.approx(-np.log(picked).sum(), rel=1e-4)
    assert int(total[1]) == (probabilities.argmax(1) != labels.numpy()).sum()
    for actual, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_cosine_schedule_with_warm_up():
    schedule = RecipeSchedule(0.4, total_steps=10, warmup_steps=2, kind="cosine")
    rates = [float(schedule(step)) for step in range(10)]
    cosine = [0.2 * (1 + np.cos(np.pi * k / 8)) for k in range(8)]
    np.testing.assert_allclose(rates, [0.2, 0.4, *cosine], rtol=1e-5)


def test_steps_schedule():
    schedule = RecipeSchedule(1.0, 8, 0, "steps", milestones=(0.5, 0.75))
    rates = [float(schedule(step)) for step in range(8)]
    np.testing.assert_allclose(rates, [1] * 4 + [0.1] * 2 + [0.01] * 2, rtol=1e-6)
    again = RecipeSchedule(**schedule.get_config())
    assert again.get_config() == schedule.get_config()
