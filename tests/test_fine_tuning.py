"""Which layers train, from when on, and how fast."""

import dataclasses
import json
import os

import keras
import numpy as np
import pytest
from conftest import TINY
from scalenet_training.errors import SettingError
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.building import rate_factors
from scalenet_training.train.loop import train_and_evaluate
from scalenet_training.train.plan import prepare
from scalenet_training.train.step import Objective, make_train_step
from test_loop import DIGITS, assert_same_weights, rows_without_speed, saved_weights
from test_step import MICRO, NONE, batch, learner_in

import scalenet_tf

pytestmark = pytest.mark.runs


@pytest.fixture
def config(tmp_path):
    """Three epochs of two steps of a network of one bottleneck."""
    path = tmp_path / "micro.json"
    path.write_text(json.dumps(MICRO.to_record()))
    return dataclasses.replace(
        DIGITS,
        model=str(path),
        train_split="train[:32]",
        eval_split="validation[:16]",
        batch_size=16,
        epochs=3,
        augment="none",
    )


def test_rates_fall_by_the_depth_from_the_top():
    model = scalenet_tf.ScaleNet(TINY, classes=10)
    factors = rate_factors(model, 0.5)
    expected = {
        "logits": 1.0,
        "stage4_block1_conv3": 2**-1,
        "stage2_block1_shortcut_bn": 2**-3,
        "stage1_block2_sa": 2**-4,
        "stage1_block1_sa": 2**-5,
        "stem_conv": 2**-6,
        "stem_bn": 2**-6,
    }
    assert {name: factors[name] for name in expected} == expected
    owners = {v.path.split("/")[0] for v in model.trainable_variables}
    assert owners <= factors.keys()
    assert set(rate_factors(model, 1.0).values()) == {1.0}


@pytest.mark.usefixtures("float64")
def test_a_step_is_scaled_by_its_layers_factor():
    moves = []
    for decay in (1.0, 0.5):
        learner = learner_in(NONE)
        learner = dataclasses.replace(
            learner, rate_factors=rate_factors(learner.model, decay)
        )
        before = [v.numpy() for v in learner.model.trainable_variables]
        step = make_train_step(learner, Objective(8, weight_decay=0.1), NONE, xla=False)
        step(batch(8, "float64"))
        variables = learner.model.trainable_variables
        moves.append([v.numpy() - b for v, b in zip(variables, before, strict=True)])
    for variable, whole, scaled in zip(variables, *moves, strict=True):
        layer = variable.path.split("/")[0]
        factor = {"stem": 0.25, "stage1": 0.5, "logits": 1.0}[layer.split("_")[0]]
        np.testing.assert_allclose(scaled, factor * whole, rtol=1e-6, atol=1e-15)


def all_weights(folder, name="last"):
    model = keras.saving.load_model(os.path.join(folder, f"{name}.keras"))
    return {w.path: w.numpy() for w in model.weights}


def test_the_classifier_trains_alone_then_all_layers(config, tmp_path, capsys):
    config = dataclasses.replace(config, freeze_epochs=1, optimizer="adamw")
    start = {w.path: w.numpy() for w in prepare(config).learner.model.weights}
    folder = str(tmp_path / "run")
    for epochs, moved in ((2, {"logits/kernel", "logits/bias"}), (4, set(start))):
        part = dataclasses.replace(config, max_steps=epochs)
        train_and_evaluate(part, folder)
        now = all_weights(folder)
        assert {p for p in start if (now[p] != start[p]).any()} == moved
    out = capsys.readouterr().out
    assert "170 of 1,350 parameters train to the end of epoch 1, then all." in out
    assert out.count("From epoch 2 on all layers train.") == 1


def test_what_begins_late_begins_as_if_it_were_new(config):
    """Adam corrects its means by the steps of the variable, not of the run."""
    plan = prepare(
        dataclasses.replace(
            config, freeze_epochs=1, optimizer="adamw", weight_decay=0.0, epsilon=1e-30
        )
    )
    learner = plan.learner
    learner.optimizer.iterations.assign(3)
    learner.begin_late()
    before = [v.numpy() for v in learner.model.trainable_variables]
    rate = float(plan.schedule(3))
    step = make_train_step(learner, Objective(16), NONE, xla=False)
    images, labels, weights = batch(16)
    step((images, labels, weights))
    assert int(learner.late.iterations) == 1
    largest = {
        v.path: np.abs(v.numpy() - b).max() / rate
        for v, b in zip(learner.model.trainable_variables, before, strict=True)
    }
    assert largest.pop("stem_conv/kernel") == pytest.approx(1.0, rel=1e-3)


@pytest.mark.slow
def test_a_run_with_all_options_goes_on_as_if_undisturbed(config, tmp_path):
    config = dataclasses.replace(
        config,
        freeze_epochs=1,
        optimizer="lamb",
        layer_decay=0.75,
        swa_start=0.5,
        stochastic_depth=0.3,
        zero_init_residual=True,
        early_stopping=2,
        best="loss",
    )
    train_and_evaluate(config, str(tmp_path / "whole"))
    for steps in (3, None):
        part = dataclasses.replace(config, max_steps=steps)
        train_and_evaluate(part, str(tmp_path / "parts"))
    assert_same_weights(
        saved_weights(tmp_path / "parts"), saved_weights(tmp_path / "whole")
    )
    assert rows_without_speed(tmp_path / "parts") == rows_without_speed(
        tmp_path / "whole"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"freeze_epochs": 2, "epochs": 2},
            "`freeze_epochs` must be less than `epochs`; .* Received: 2 of 2.",
        ),
        ({"freeze": True, "layer_decay": 0.5}, "`layer_decay` and `freeze` exclude"),
        ({"freeze": True, "freeze_epochs": 1}, "`freeze_epochs` and `freeze` exclude"),
        ({"layer_decay": 1.5}, "`layer_decay` must be above 0, to 1. Received: 1.5."),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_together_are_an_error(changes, message):
    with pytest.raises(SettingError, match=message):
        TrainConfig(**changes)
