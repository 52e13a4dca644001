import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY, TINY_CIFAR
from hypothesis import given, settings
from hypothesis import strategies as st
from scalenet_training.errors import SettingError
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.step import Objective
from scalenet_training.train.step.stochastic_depth import StochasticDepth
from test_step import NONE, assert_close, mirrored, trained

import scalenet_tf


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(3)
    model = scalenet_tf.ScaleNet(TINY, classes=10, classifier_activation=None)
    rng = np.random.default_rng(3)
    for variable in model.weights:  # moving means of zeros would hide a layer
        if len(variable.shape) == 1:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def images(count=3, side=56):
    rng = np.random.default_rng(0)
    return tf.constant(rng.standard_normal((count, side, side, 3)), "float32")


def test_with_all_branches_it_is_the_network(network):
    depth = StochasticDepth(network, 0.5, seed=0)
    logits = depth(images(), tf.ones((3, 5)), training=False)
    np.testing.assert_array_equal(logits, network(images(), training=False))


def test_an_example_loses_the_branches_that_are_drawn_and_no_others(network):
    """A branch of zeros is one whose last batch norm has no scale and no offset."""
    factors = [[1.0] * 5, [1, 1, 0, 1, 1], [0, 1, 1, 1, 1]]
    depth = StochasticDepth(network, 0.5, seed=0)
    logits = depth(images(), tf.constant(factors), training=False)
    for example, block in ((0, None), (1, "stage2_block1"), (2, "stage1_block1")):
        other = keras.models.clone_model(network)
        other.set_weights(network.get_weights())
        if block:
            norm = other.get_layer(f"{block}_bn3")
            norm.gamma.assign(tf.zeros_like(norm.gamma))
            norm.beta.assign(tf.zeros_like(norm.beta))
        expected = other(images(), training=False)[example]
        np.testing.assert_allclose(logits[example], expected, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(rate=st.floats(0, 0.9), seed=st.integers(0, 2**31), step=st.integers(0, 10**6))
def test_the_expected_branch_is_the_whole_one(network, rate, seed, step):
    depth = StochasticDepth(network, rate, seed)
    np.testing.assert_allclose(depth.chances, 1 - rate * np.arange(1, 6) / 5, rtol=1e-6)
    factors = depth.draw(tf.constant(step), 4096).numpy()
    for column, chance in zip(factors.T, depth.chances, strict=True):
        assert set(np.round(np.unique(column) * chance, 5)) <= {0.0, 1.0}
        # Of a mean of 4,096 draws, six deviations.
        deviation = np.sqrt((1 - chance) / chance / 4096)
        assert abs(column.mean() - 1) <= 6 * deviation + 1e-6


def test_who_stays_is_a_function_of_seed_step_place_and_block(network):
    def draw(seed, step):
        return StochasticDepth(network, 0.9, seed).draw(tf.constant(step), 64).numpy()

    np.testing.assert_array_equal(draw(0, 5), draw(0, 5))
    assert (draw(0, 5) != draw(0, 6)).any()
    assert (draw(0, 5) != draw(1, 5)).any()
    assert (draw(0, 5)[0] != draw(0, 5)[1:]).any()


def test_the_network_and_what_is_saved_of_it_stay_as_they_are(tmp_path):
    models = [scalenet_tf.ScaleNet(TINY_CIFAR, classes=10) for _ in range(2)]
    StochasticDepth(models[1], 0.5, seed=0)
    first, second = (model.get_config() for model in models)
    assert first == second
    models[1].save(tmp_path / "model.keras")
    loaded = scalenet_tf.load_model(tmp_path / "model.keras")
    assert [w.path for w in loaded.weights] == [w.path for w in models[0].weights]
    np.testing.assert_array_equal(
        loaded(images(2, 32)), models[1](images(2, 32), training=False)
    )


OPTIONS = {"stochastic_depth": 0.5, "seed": 1}


@pytest.mark.usefixtures("float64")
def test_parts_of_a_batch_leave_out_the_same_branches():
    one = trained(NONE, Objective(8, **OPTIONS), 2, freeze_batch_norm=True)
    parts = Objective(8, accumulate=2, **OPTIONS)
    assert_close(trained(NONE, parts, 2, freeze_batch_norm=True), one)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_two_replicas_leave_out_the_same_branches():
    one, without = (
        trained(NONE, Objective(8, **options), freeze_batch_norm=True)
        for options in (OPTIONS, {})
    )
    assert abs(one[0][0] - without[0][0]) > 1e-3
    two = trained(mirrored(), Objective(8, **OPTIONS), freeze_batch_norm=True)
    assert_close(two, one)


def test_it_needs_a_body_that_trains():
    message = "`stochastic_depth` and `freeze` exclude each other: .*: 0.1 with"
    with pytest.raises(SettingError, match=message):
        TrainConfig(stochastic_depth=0.1, freeze=True)
