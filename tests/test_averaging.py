"""The average of weights over epochs, and the statistics that belong to it."""

import dataclasses
import math
import os
import signal
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from scalenet_training.errors import InterruptedRunError, SettingError
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train import evaluation, loop
from scalenet_training.train.loop import train_and_evaluate
from scalenet_training.train.outcome import Outcome
from scalenet_training.train.step import EpochAverage, Learner, make_statistics_step
from test_loop import (  # noqa: F401
    assert_same_weights,
    config,
    rows_without_speed,
    saved_weights,
)
from test_step import MICRO, NONE, batch

import scalenet_tf


class Weights(types.SimpleNamespace):
    """What an average needs of a network."""

    def get_weights(self):
        return [np.array(self.value)]

    def set_weights(self, weights):
        (self.value,) = weights


def averaged(first):
    """A network, its average, and what averages."""
    model, average = Weights(value=[0.0]), Weights(value=[9.0])
    return model, average, EpochAverage(Learner(model, None, average), first)


@given(st.integers(1, 5), st.lists(st.integers(1, 3), min_size=1, max_size=9))
def test_the_average_is_the_mean_of_the_ends_of_epochs(first, times):
    """However often a run was stopped within an epoch, or while it evaluated."""
    model, average, take = averaged(first)
    ends = np.random.default_rng(0).standard_normal((len(times), 1))
    for epoch, end in enumerate(ends):
        before = average.value
        model.value = end + 7.0
        several = take.take(epoch, whole=False)
        assert several == (epoch >= first)
        np.testing.assert_array_equal(average.value, before if several else end + 7.0)
        model.value = end
        for _ in range(times[epoch]):
            assert take.take(epoch, whole=True) == several
        expected = ends[first - 1 : epoch + 1].mean(axis=0) if several else end
        np.testing.assert_allclose(average.value, expected, rtol=1e-12)


def test_the_average_begins_anew_where_epochs_were_added():
    """What it holds by then is of epochs that come before its beginning."""
    model, average, short = averaged(2)
    long = EpochAverage(Learner(model, None, average), 5)
    for epoch in range(4):
        model.value = [float(epoch)]
        short.take(epoch, whole=True)
    assert average.value == [2.0]
    long.begun.assign(short.begun)
    long.taken.assign(short.taken)
    for epoch, expected in ((4, 40.0), (5, 45.0), (6, 50.0)):
        model.value = [10.0 * epoch]
        long.take(epoch, whole=True)
        assert average.value == [expected]
    late = EpochAverage(Learner(model, None, average), 4)
    late.begun.assign(short.begun)
    late.taken.assign(short.taken)
    assert not late.take(4, whole=True)  # the end of epoch 3 is lost
    assert average.value == [60.0]


def test_the_average_goes_on_where_few_of_its_epochs_are_too_early():
    """With 9 epochs in place of 8 and a half of them, one of five is."""
    model, average, before = averaged(4)
    for epoch in range(8):
        model.value = [float(epoch)]
        before.take(epoch, whole=True)
    assert average.value == [5.0]  # of 3 to 7
    more = EpochAverage(Learner(model, None, average), 5)
    more.begun.assign(before.begun)
    more.taken.assign(before.taken)
    model.value = [8.0]
    for _ in range(2):  # it was stopped while it evaluated
        assert more.take(8, whole=True)
        assert average.value == [pytest.approx(5.5)]


def test_an_average_that_begins_anew_is_of_one_epoch_however_often_it_is_asked():
    model, average, before = averaged(2)
    for epoch in range(4):
        model.value = [float(epoch)]
        before.take(epoch, whole=True)
    late = EpochAverage(Learner(model, None, average), 4)
    late.begun.assign(before.begun)
    late.taken.assign(before.taken)
    model.value = [40.0]
    for _ in range(2):
        assert not late.take(4, whole=True)
        assert average.value == [40.0]


def test_a_part_of_the_epochs_begins_where_it_is_exact():
    """0.55 * 100 is more than 55 in floating point."""
    model = Weights(value=[0.0])
    learner = Learner(model, None, Weights(value=[0.0]))
    outcome = Outcome(TrainConfig(epochs=100, swa_start=0.55), learner)
    several = [outcome.averaged.take(epoch, whole=True) for epoch in (54, 55)]
    assert several == [False, True]


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_networks_need_no_statistics(frozen):
    options = {"freeze": True} if frozen else {}
    model = Weights(value=[0.0])
    learner = Learner(model, None, Weights(value=[0.0]))
    outcome = Outcome(TrainConfig(epochs=2, swa_start=0.5, **options), learner)
    assert not outcome.average(0, whole=True)
    assert outcome.average(1, whole=True) == (not frozen)


def test_without_a_beginning_it_is_the_weights_as_they_are():
    model, average, take = averaged(math.inf)
    for epoch in range(3):
        model.value = [float(epoch)]
        assert not take.take(epoch, whole=True)
        assert average.value == model.value


def norms_of(model):
    return [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]


def statistics(model):
    return [
        value.numpy()
        for norm in norms_of(model)
        for value in (norm.moving_mean, norm.moving_variance)
    ]


def disturb(model):
    for norm in norms_of(model):
        norm.moving_mean.assign(norm.moving_mean + 300.0)
        norm.moving_variance.assign(norm.moving_variance * 7e5)


@pytest.mark.parametrize("xla", [False, True])
def test_the_statistics_are_the_means_of_those_of_the_batches(xla):
    """As Keras' own layer finds them where it forgets all but the last batch."""
    keras.utils.set_random_seed(0)
    model = scalenet_tf.ScaleNet(MICRO, classes=10)
    reference = scalenet_tf.ScaleNet(MICRO, classes=10)
    reference.set_weights(model.get_weights())
    images = tf.reshape(batch(24)[0], (3, 8, 32, 32, 3))
    expected = []
    for norm in norms_of(reference):
        norm.momentum = 0.0
    for part in images:
        reference(part, training=True)
        expected.append(statistics(reference))
    gammas = [norm.gamma.numpy() for norm in norms_of(model)]
    step = make_statistics_step(model, NONE, xla)
    for number, part in enumerate(images, start=1):
        assert not step((part,), number, False)
    found = statistics(model)
    assert step((images[0],), 4, True)
    disturb(model)
    for number, part in enumerate(images, start=1):  # begins anew
        step((part,), number, False)
    assert_same_weights(statistics(model), found)
    assert len(found) > 8
    for actual, batches in zip(found, zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(actual, np.mean(batches, 0), rtol=1e-4, atol=1e-6)
    for norm, gamma in zip(norms_of(model), gammas, strict=True):
        np.testing.assert_array_equal(norm.gamma, gamma)


def test_frozen_statistics_stay():
    model = scalenet_tf.ScaleNet(MICRO, classes=10)
    model.get_layer("stem_bn").trainable = False
    before = [v.numpy() for v in model.non_trainable_variables]
    make_statistics_step(model, NONE, False)((batch()[0],), 1, False)
    moved = {
        variable.path.split("/")[0]
        for variable, value in zip(model.non_trainable_variables, before, strict=True)
        if not np.array_equal(variable, value)
    }
    assert len(moved) > 3
    assert "stem_bn" not in moved


@pytest.mark.runs
@pytest.mark.parametrize(
    ("module", "make"),
    [(evaluation, "make_evaluation_step"), (loop, "make_statistics_step")],
)
def test_a_signal_between_epochs_changes_nothing(
    config,  # noqa: F811
    tmp_path,
    monkeypatch,
    module,
    make,
):
    """The epoch is averaged once; statistics are estimated from the first batch on."""
    config = dataclasses.replace(
        config, epochs=3, swa_start=0.3, swa_batches=3, learning_rate=0.1
    )
    train_and_evaluate(config, str(tmp_path / "whole"))
    made, calls = getattr(module, make), []

    def signalling(*arguments):
        step = made(*arguments)

        def signalled(*arguments):
            calls.append(arguments)
            if len(calls) == 5:
                os.kill(os.getpid(), signal.SIGTERM)
                arguments = (*arguments[:-1], True)
            return step(*arguments)

        return signalled

    monkeypatch.setattr(module, make, signalling)
    with pytest.raises(InterruptedRunError, match="after step 12 of 12"):
        train_and_evaluate(config, str(tmp_path / "run"))
    monkeypatch.setattr(module, make, made)
    train_and_evaluate(config, str(tmp_path / "run"))
    assert rows_without_speed(tmp_path / "run") == rows_without_speed(
        tmp_path / "whole"
    )
    assert_same_weights(
        saved_weights(tmp_path / "run"), saved_weights(tmp_path / "whole")
    )


def test_batches_for_an_average_need_one():
    message = "`swa_batches` must stand with `swa_start`. Received: 20 alone."
    with pytest.raises(SettingError, match=message):
        TrainConfig(swa_batches=20)
