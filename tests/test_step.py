import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_CIFAR
from scalenet_training.train.step import (
    Learner,
    Loss,
    LossScale,
    Objective,
    cross_entropy,
    make_evaluation_step,
    make_train_step,
    means,
    sums,
)
from scalenet_training.train.step.schedule import RecipeSchedule

import scalenet_tf

NONE = tf.distribute.get_strategy()
# One block, for steps that are traced many times.
MICRO = dataclasses.replace(
    TINY_CIFAR,
    name="Micro",
    stage_widths=(4,),
    blocks_per_stage=(1,),
    budget_per_stage=(6,),
    allocation=((3, 2, 1),),
)


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


def mirrored():
    return tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )


def learner_in(strategy, loss_scale=False, freeze_batch_norm=False):
    with strategy.scope():
        keras.utils.set_random_seed(1)
        model = scalenet_tf.ScaleNet(MICRO, classes=10)
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = not freeze_batch_norm
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
        optimizer.build(model.trainable_variables)
        return Learner(model, optimizer, None, LossScale() if loss_scale else None)


def distributed(strategy, values):
    """The batch, a contiguous part for each replica."""
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return values
    part = len(values[0]) // replicas
    return strategy.experimental_distribute_values_from_function(
        lambda context: tuple(
            value[part * context.replica_id_in_sync_group :][:part] for value in values
        )
    )


def trained(strategy, objective, steps=3, xla=False, **options):
    learner = learner_in(strategy, **options)
    step = make_train_step(learner, objective, strategy, xla)
    for _ in range(steps):
        report = step(distributed(strategy, batch(8, keras.config.floatx())))
    return [report.sums, *learner.model.get_weights()]


def assert_close(actual, expected, tolerance=1e-9):
    """By each tensor's largest entry: sums of opposite terms are exact to that."""
    for left, right in zip(actual, expected, strict=True):
        largest = np.abs(right).max()
        np.testing.assert_allclose(left, right, rtol=0, atol=tolerance * largest)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "options",
    [
        {"loss": Loss(label_smoothing=0.1), "weight_decay": 0.1},
        {"weight_decay": 0.1, "decay_all": True, "clip_norm": 0.5},
    ],
    ids=str,
)
def test_two_replicas_take_the_step_of_one_with_frozen_statistics(options):
    """The loss over the global batch and the penalty once, however it is split."""
    one, two = (
        trained(strategy, Objective(8, **options), freeze_batch_norm=True)
        for strategy in (NONE, mirrored())
    )
    assert_close(two, one)


@pytest.mark.usefixtures("float64")
def test_accumulated_parts_take_the_step_of_the_whole_with_frozen_statistics():
    one, parts = (
        trained(NONE, Objective(8, accumulate=parts), freeze_batch_norm=True)
        for parts in (1, 4)
    )
    assert_close(parts, one)


@pytest.mark.usefixtures("float64")
def test_clipping_scales_the_gradient_of_the_loss_and_not_the_decay():
    start = learner_in(NONE).model.get_weights()
    moves = {
        (clip, decay): [
            after - before
            for before, after in zip(
                start,
                trained(NONE, Objective(8, clip_norm=clip, weight_decay=decay), 1)[1:],
                strict=True,
            )
        ]
        for clip in (0.0, 0.01)
        for decay in (0.0, 0.1)
    }
    trainable = [v.trainable for v in learner_in(NONE).model.weights]
    norm = np.sqrt(
        sum(
            (move**2).sum()
            for move, learns in zip(moves[0.01, 0.0], trainable, strict=True)
            if learns
        )
    )
    assert norm == pytest.approx(0.1 * 0.01, rel=1e-9)  # learning rate x clip norm
    for index, learns in enumerate(trainable):
        if learns:
            clipped, free = (
                moves[clip, 0.1][index] - moves[clip, 0.0][index]
                for clip in (0.01, 0.0)
            )
            np.testing.assert_allclose(clipped, free, atol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_l1_moves_the_scales_of_sa_blocks_alone_by_their_sign(replicas):
    strategy = NONE if replicas == 1 else mirrored()
    with_l1, without = (
        trained(strategy, Objective(8, gamma_l1=l1), steps=1)[1:] for l1 in (0.5, 0.0)
    )
    moved = {}
    weights = learner_in(NONE).model.weights
    for variable, left, right in zip(weights, with_l1, without, strict=True):
        if np.abs(left - right).max() > 1e-12:
            moved[variable.path] = left - right
    assert moved
    assert all("_sa/" in path and path.endswith("gamma") for path in moved)
    norms = sum(path.count("/scale") for path in moved)
    assert norms == 3  # the branches
    for change in moved.values():  # gammas begin at 1; the learning rate is 0.1
        np.testing.assert_allclose(change, -0.1 * 0.5, atol=1e-12)


def test_statistics_are_the_mean_over_replicas_after_every_step():
    strategy = mirrored()
    learner = learner_in(strategy)
    step = make_train_step(learner, Objective(8), strategy, xla=False)
    step(distributed(strategy, batch(8)))
    images, labels, weights = batch(8)
    halves = []
    for half in (slice(0, 4), slice(4, 8)):
        alone = learner_in(NONE)
        one = make_train_step(alone, Objective(8), NONE, xla=False)
        one((images[half], labels[half], weights[half]))
        halves.append(alone.model.get_layer("stem_bn").moving_mean.numpy())
    mean = learner.model.get_layer("stem_bn").moving_mean
    for value in mean.value.values:
        np.testing.assert_allclose(value, np.mean(halves, axis=0), atol=1e-6)


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("asked", [False, True])
def test_a_step_tells_whether_some_worker_was_asked_to_stop(replicas, asked):
    strategy = NONE if replicas == 1 else mirrored()
    step = make_train_step(learner_in(strategy), Objective(8), strategy, xla=False)
    assert step(distributed(strategy, batch()), asked).stops == asked * replicas


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_step_that_diverges_says_so_and_leaves_the_weights(replicas):
    strategy = NONE if replicas == 1 else mirrored()
    learner = learner_in(strategy)
    before = [v.numpy() for v in learner.model.trainable_variables]
    step = make_train_step(learner, Objective(8), strategy, xla=False)
    images, labels, weights = batch()
    images = tf.tensor_scatter_nd_update(images, [[7, 0, 0, 0]], [float("nan")])
    report = step(distributed(strategy, (images, labels, weights)))
    assert report.diverged
    for variable, value in zip(learner.model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_loss_scale_halves_at_overflow_and_the_weights_wait(replicas):
    keras.config.set_dtype_policy("mixed_float16")
    strategy = NONE if replicas == 1 else mirrored()
    learner = learner_in(strategy, loss_scale=True)
    learner.loss_scale.scale.assign(3e38)
    before = [v.numpy() for v in learner.model.trainable_variables]
    step = make_train_step(learner, Objective(8), strategy, xla=False)
    report = step(distributed(strategy, batch()))
    assert not report.diverged
    assert learner.loss_scale.scale.numpy() == pytest.approx(1.5e38)
    for variable, value in zip(learner.model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    learner.loss_scale.scale.assign(1024.0)
    step(distributed(strategy, batch()))
    assert learner.loss_scale.good_steps.numpy() == 1
    assert (learner.model.trainable_variables[0].numpy() != before[0]).any()
    assert learner.optimizer.iterations.numpy() == 2


def test_the_loss_scale_doubles_after_two_thousand_good_steps():
    scale = LossScale()
    scale.good_steps.assign(1998)
    scale.update(tf.constant(True))
    assert (float(scale.scale), int(scale.good_steps)) == (2.0**15, 1999)
    scale.update(tf.constant(True))
    assert (float(scale.scale), int(scale.good_steps)) == (2.0**16, 0)
    scale.scale.assign(1.0)
    scale.update(tf.constant(False))
    assert float(scale.scale) == 1.0


def test_evaluation_uses_moving_statistics_and_changes_nothing():
    model = scalenet_tf.ScaleNet(MICRO, classes=10)
    before = model.get_weights()
    images, labels, weights = batch()
    total = make_evaluation_step(model, NONE, xla=False)((images, labels, weights)).sums
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
