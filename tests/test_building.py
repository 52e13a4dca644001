"""The network of a run before its first step."""

import dataclasses
import json

import numpy as np
import pytest
from conftest import TINY_CIFAR
from scalenet_training.train.plan import prepare
from test_loop import DIGITS

import scalenet_tf


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(TINY_CIFAR.to_record()))
    return dataclasses.replace(DIGITS, model=str(path))


def weights(config):
    return {w.path: w.numpy() for w in prepare(config).learner.model.weights}


def test_residual_branches_start_at_zero_and_nothing_else_changes(config):
    plain = weights(config)
    silent = weights(dataclasses.replace(config, zero_init_residual=True))
    changed = {path for path in plain if (silent[path] != plain[path]).any()}
    assert changed == {"stage1_block1_bn3/gamma", "stage2_block1_bn3/gamma"}
    assert not any(silent[path].any() for path in changed)


def test_a_new_network_begins_as_its_shortcuts(config):
    config = dataclasses.replace(config, zero_init_residual=True, ema=0.9)
    learner = prepare(config).learner
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)
    for model in (learner.model, learner.average):
        without = scalenet_tf.ScaleNet(TINY_CIFAR, classes=10)
        without.set_weights(model.get_weights())
        for number in (1, 2):  # what the branches compute does not matter
            kernel = without.get_layer(f"stage{number}_block1_conv3").kernel
            kernel.assign(-3 * kernel)
        expected = np.asarray(model(images))
        assert expected.any()
        np.testing.assert_array_equal(without(images), expected)


def test_given_weights_replace_the_zeros(config, tmp_path):
    path = str(tmp_path / "start.weights.h5")
    scalenet_tf.ScaleNet(TINY_CIFAR, classes=10).save_weights(path)
    given = dataclasses.replace(config, weights=path, zero_init_residual=True)
    assert (weights(given)["stage1_block1_bn3/gamma"] == 1).all()
