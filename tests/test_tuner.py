"""HyperScaleNet: hyperparameters -> a compiled network that costs what it may."""

import dataclasses
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import TINY, TINY_CIFAR
from hypothesis import given, settings
from hypothesis import strategies as st

import scalenet_tf

keras_tuner = pytest.importorskip("keras_tuner")

from scalenet_tf.allocation import CostTable  # noqa: E402
from scalenet_tf.tuner import SmoothedCrossEntropy  # noqa: E402

COSTS = CostTable(
    fixed=2.0,
    branches=[
        [[(1, 0.02), (width, 0.02 + 0.2 / 2**scale)] for scale in range(3)]
        for width in (16, 32, 64)
    ],
    twin=5.0,
)


def random_samples(hypermodel, count):
    oracle = keras_tuner.oracles.RandomSearchOracle(seed=1)
    hp = keras_tuner.HyperParameters()
    hypermodel.architecture(hp)
    hypermodel.training_settings(hp)
    oracle.update_space(hp)
    for _ in range(count):
        sample = oracle.get_space()
        sample.values = oracle._random_values()
        yield sample


def test_it_is_a_hypermodel_by_its_public_name():
    assert issubclass(scalenet_tf.HyperScaleNet, keras_tuner.HyperModel)
    assert "HyperScaleNet" in dir(scalenet_tf)
    with pytest.raises(AttributeError, match="no attribute 'HyperScaleNets'"):
        _ = scalenet_tf.HyperScaleNets


def test_without_keras_tuner_the_error_names_the_command():
    code = (
        "import sys\n"
        "sys.modules['keras_tuner'] = None\n"
        "import scalenet_tf\n"
        "try:\n"
        "    scalenet_tf.HyperScaleNet\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "pip install 'scalenet_tf[tune]'" in result.stdout


def test_every_sample_costs_the_target_and_they_differ():
    hypermodel = scalenet_tf.HyperScaleNet("ScaleNetCifar38", depth=(9, 15))
    target = hypermodel.target_macs
    assert target == 57_353_216
    found = [hypermodel.architecture(hp) for hp in random_samples(hypermodel, 50)]
    assert all(0.99 * target <= network.macs() <= target for network in found)
    assert len({network.allocation for network in found}) == 50
    assert {sum(n.blocks_per_stage) for n in found} == set(range(9, 16))


def test_hyperparameters_have_the_names_of_the_field():
    hypermodel = scalenet_tf.HyperScaleNet(
        TINY_CIFAR, depth=(2, 4), weight_decay=1e-4, label_smoothing=(0.0, 0.1)
    )
    hp = next(random_samples(hypermodel, 1))
    shares = {f"stage{s}_scale{k}_share" for s in (1, 2) for k in (1, 2, 4)}
    assert set(hp.values) == shares | {
        *("stage1_macs_share", "stage2_macs_share"),
        *("depth", "learning_rate", "label_smoothing"),
    }
    assert hypermodel.training_settings(hp)["weight_decay"] == 1e-4


def test_defaults_are_near_the_base():
    base = scalenet_tf.get_architecture("ScaleNet50")
    hypermodel = scalenet_tf.HyperScaleNet(base, target_macs=base.macs())
    found = hypermodel.architecture(keras_tuner.HyperParameters())
    for ours, theirs in zip(found.budget_per_stage, base.budget_per_stage, strict=True):
        assert abs(ours - theirs) <= 2
    assert found.name == "ScaleNet50Tuned"
    again = scalenet_tf.HyperScaleNet(found, target_macs=base.macs())
    name = again.architecture(keras_tuner.HyperParameters()).name
    assert name == "ScaleNet50Tuned"


def test_the_built_model_costs_what_the_architecture_says():
    hypermodel = scalenet_tf.HyperScaleNet(TINY, classes=7)
    hp = next(random_samples(hypermodel, 1))
    model, architecture = hypermodel.build(hp), hypermodel.architecture(hp)
    assert scalenet_tf.count_macs(model) == architecture.macs(7)
    assert model.output_shape == (None, 7)
    settings = hypermodel.training_settings(hp)
    assert float(model.optimizer.learning_rate) == pytest.approx(
        settings["learning_rate"]
    )
    assert model.optimizer.momentum == 0.9
    assert model.optimizer.weight_decay is None
    assert model.loss.label_smoothing == settings["label_smoothing"]


def test_the_penalty_is_half_the_decay_times_the_squared_kernels():
    hypermodel = scalenet_tf.HyperScaleNet(TINY_CIFAR, classes=3, weight_decay=0.01)
    model = hypermodel.build(keras_tuner.HyperParameters())
    kernels = [w.numpy() for w in model.weights if w.name == "kernel"]
    expected = 0.005 * sum(np.sum(kernel**2) for kernel in kernels)
    np.testing.assert_allclose(float(sum(model.losses)), expected, rtol=1e-5)
    free = scalenet_tf.HyperScaleNet(TINY_CIFAR, classes=3, weight_decay=0.0)
    losses = free.build(keras_tuner.HyperParameters()).losses
    assert float(sum(losses)) == 0


LOAD = """
import sys, numpy as np, scalenet_tf
loaded = scalenet_tf.load_model(sys.argv[1])
assert "keras_tuner" not in sys.modules
images, labels = np.ones((4, 32, 32, 3), "f4"), np.arange(4) % 3
print(float(sum(loaded.losses)), *loaded.evaluate(images, labels, verbose=0))
"""


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_saved_network_goes_on_without_keras_tuner(suffix, tmp_path):
    hypermodel = scalenet_tf.HyperScaleNet(TINY_CIFAR, classes=3, weight_decay=0.01)
    model = hypermodel.build(keras_tuner.HyperParameters())
    path = tmp_path / f"tuned{suffix}"
    model.save(path)
    images, labels = np.ones((4, 32, 32, 3), "f4"), np.arange(4) % 3
    expected = [float(sum(model.losses)), *model.evaluate(images, labels, verbose=0)]
    assert expected[0] > 0
    found = subprocess.run(
        [sys.executable, "-c", LOAD, path], capture_output=True, text=True, check=True
    )
    found = [float(word) for word in found.stdout.split()]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_labels_beyond_the_classes_are_an_error(labels, smoothing):
    probabilities = np.full((2, 3), 1 / 3, "f4")
    with pytest.raises(Exception, match="label value"):
        SmoothedCrossEntropy(smoothing)(np.array(labels), probabilities)


def test_one_hot_labels_are_an_error():
    message = r"whole numbers.*shape \(2, 3\) for 3 classes; call numpy.argmax"
    with pytest.raises(ValueError, match=message):
        SmoothedCrossEntropy()(np.eye(3)[:2], np.full((2, 3), 1 / 3, "f4"))


def test_numbers_of_numpy_are_numbers():
    hypermodel = scalenet_tf.HyperScaleNet(
        TINY_CIFAR,
        classes=np.int64(3),
        learning_rate=np.float32(0.5),
        target_macs=np.float32(1_400_000),
        depth=(np.int64(6), np.int64(7)),
    )
    model = hypermodel.build(keras_tuner.HyperParameters())
    assert model.output_shape == (None, 3)
    assert float(model.optimizer.learning_rate) == 0.5


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_labels_are_smoothed(shape):
    labels = np.array([0, 2, 1, 1])
    logits = np.random.default_rng(0).standard_normal((4, 3))
    exponentials = np.exp(logits)
    p = exponentials / exponentials.sum(1, keepdims=True)
    wanted = 0.9 * np.eye(3)[labels] + 0.1 / 3
    expected = -(wanted * np.log(p)).sum(1).mean()
    loss = SmoothedCrossEntropy(0.1)
    assert float(loss(labels.reshape(shape), p)) == pytest.approx(expected, rel=1e-5)
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert copy.label_smoothing == 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target_macs": 1e6}, r"`target_macs` must be from 16,982,016 to 91,366,400"),
        ({"target_macs": 1e9}, r"with 100 classes. Received: 1,000,000,000"),
        ({"target_macs": float("nan")}, r"`target_macs` must be from"),
        ({"depth": (3, 12)}, r"`target_macs` must be .* at each depth of \[3, 12\]"),
        ({"depth": (2, 12)}, r"`depth` must be .*from 3, the number of stages"),
        ({"depth": 12}, r"`depth` must be None or a range"),
        ({"learning_rate": (0.0, 0.1)}, r"`learning_rate` must be .*above 0"),
        ({"learning_rate": (0.2, 0.1)}, r"two ascending numbers"),
        ({"weight_decay": -1.0}, r"`weight_decay` must be .*from 0. Received: -1.0"),
        ({"label_smoothing": (0.0, 1.0)}, r"`label_smoothing` must be .*below 1"),
        ({"base": "VGG16"}, r"unknown model 'VGG16'"),
        ({"costs": COSTS, "target_macs": 5e7}, "`costs` must stand without `target_ma"),
        ({"costs": COSTS, "depth": (9, 12)}, "`costs` must stand without"),
        ({"target_milliseconds": 3.0}, "must stand with `costs`. Received: 3.0 alone"),
        (
            {"costs": COSTS, "target_milliseconds": 0.1},
            r"the target must be .* ms or more for ScaleNetCifar38. Received: 0.1",
        ),
        ({"costs": COSTS, "target_milliseconds": float("nan")}, "ms or more"),
        (
            {"costs": COSTS, "target_milliseconds": "3"},
            "`target_milliseconds` must be a number. Received: '3'",
        ),
        ({"target_macs": "5e7"}, "`target_macs` must be a number. Received: '5e7'"),
        ({"costs": {}}, "`costs` must be a CostTable. Received: {}"),
        (
            {"costs": dataclasses.replace(COSTS, about={"stage_widths": [8, 16, 32]})},
            r"^`costs` must be measured for ScaleNetCifar38: stage_widths "
            r"\[16, 32, 64\]. Received: \[8, 16, 32\].$",
        ),
        (
            {"costs": dataclasses.replace(COSTS, branches=COSTS.branches[:2])},
            r"^`costs` must be measured for ScaleNetCifar38: scales by stage "
            r"\[3, 3, 3\]. Received: \[3, 3\].$",
        ),
        ({"classes": "3"}, "`classes` must be a positive whole number. .*='3'"),
        ({"momentum": "0.9"}, "`momentum` must be from 0 to below 1. Received: '0.9'"),
    ],
)
def test_arguments_that_cannot_be_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        scalenet_tf.HyperScaleNet(**{"base": "ScaleNetCifar38", **arguments})


@given(st.integers(0, 99), st.floats(0.7, 1.2))
@settings(max_examples=10, deadline=None)
def test_with_a_table_of_costs_every_sample_meets_a_time(seed, share):
    target = share * COSTS.twin
    hypermodel = scalenet_tf.HyperScaleNet(costs=COSTS, target_milliseconds=target)
    hp = keras_tuner.HyperParameters()
    hypermodel.architecture(hp)
    sample = keras_tuner.HyperParameters()
    for declared in hp.space:
        sample.Fixed(declared.name, declared.random_sample(seed))
    found = hypermodel.architecture(sample)
    assert 0.95 * target <= COSTS.milliseconds(found) <= target
    assert found.name == "ScaleNetCifar38Tuned"


def test_without_a_time_it_is_that_of_the_twin():
    hypermodel = scalenet_tf.HyperScaleNet(costs=COSTS)
    found = hypermodel.architecture(keras_tuner.HyperParameters())
    assert 0.97 * COSTS.twin <= COSTS.milliseconds(found) <= COSTS.twin
    slow = dataclasses.replace(COSTS, twin=1e-3)
    with pytest.raises(ValueError, match=r"target must be .* ms or more .*: 0\.001"):
        scalenet_tf.HyperScaleNet(costs=slow).architecture(
            keras_tuner.HyperParameters()
        )


def test_an_argument_that_there_is_not_is_answered_by_the_one_that_is_meant():
    with pytest.raises(TypeError, match="HyperScaleNet has no argument `num_classes`"):
        scalenet_tf.HyperScaleNet("ScaleNetCifar38", num_classes=3)


def data():
    x = np.random.default_rng(0).standard_normal((48, 32, 32, 3)).astype("f4")
    y = np.arange(48) % 3
    return {"x": x[:32], "y": y[:32], "validation_data": (x[32:], y[32:])}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        pytest.param("RandomSearch", {"max_trials": 1}, marks=pytest.mark.slow),
        pytest.param("Hyperband", {"max_epochs": 3}, marks=pytest.mark.slow),
        pytest.param(
            "BayesianOptimization",
            {"max_trials": 4, "num_initial_points": 2},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_every_tuner_searches_and_gives_the_best(kind, options, tmp_path):
    hypermodel = scalenet_tf.HyperScaleNet(TINY_CIFAR, classes=3)
    tuner = getattr(keras_tuner, kind)(
        hypermodel, "val_accuracy", directory=tmp_path, project_name="p", **options
    )
    tuner.search(**data(), verbose=0, epochs=1)
    trials = tuner.oracle.trials.values()
    assert all(trial.status == "COMPLETED" for trial in trials)
    assert all(0 <= trial.score <= 1 for trial in trials)
    (best,) = tuner.get_best_hyperparameters()
    macs = hypermodel.architecture(best).macs(3)
    assert 0.99 * hypermodel.target_macs <= macs <= hypermodel.target_macs
    (model,) = tuner.get_best_models()
    result = model.evaluate(*data()["validation_data"], verbose=0, return_dict=True)
    assert result["accuracy"] == pytest.approx(max(trial.score for trial in trials))
    record = json.dumps(hypermodel.architecture(best).to_record())
    assert "TinyCifarTuned" in record
