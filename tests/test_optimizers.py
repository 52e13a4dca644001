"""The optimizers' steps against the published rules, written out in NumPy."""

import typing

import keras
import numpy as np
import pytest
import tensorflow as tf
from scalenet_training.errors import SettingError, UsageError
from scalenet_training.settings.optimisation import OWN_SETTINGS, OptimizerName
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.step import Learner, LossScale, Objective, make_train_step
from scalenet_training.train.step.optimizers import OPTIMIZERS, make_optimizer
from scalenet_training.train.step.schedule import RecipeSchedule
from test_step import MICRO, NONE, assert_close, batch, distributed, mirrored

import scalenet_tf

# Powers of two: Keras rounds some of them to float32, in float64 too.
BETA_1, BETA_2, EPSILON = 1 - 2**-3, 1 - 2**-10, 2.0**-20
RATE, DECAY, MOMENTUM = 2.0**-6, 2.0**-3, 1 - 2**-4
DECOUPLED = [name for name, kind in OPTIMIZERS.items() if kind.decoupled]
STEPS = 3


def config(optimizer, **changes):
    values = {"beta_1": BETA_1, "beta_2": BETA_2, "epsilon": EPSILON}
    values["momentum"] = MOMENTUM
    own = {name: values[name] for name in OWN_SETTINGS[optimizer]}
    return TrainConfig(optimizer=optimizer, **{**own, "weight_decay": DECAY, **changes})


def adam(gradients, epsilon_is_inside):
    """Adam's direction after the gradients; where epsilon is, Keras and LAMB differ."""
    mean = square = 0.0
    for gradient in gradients:
        mean = BETA_1 * mean + (1 - BETA_1) * gradient
        square = BETA_2 * square + (1 - BETA_2) * gradient**2
    count = len(gradients)
    root = np.sqrt(1 - BETA_2**count)
    epsilon = EPSILON / root if epsilon_is_inside else EPSILON
    return mean / (1 - BETA_1**count) / (np.sqrt(square) / root + epsilon)


def adamw(weights, gradients, decay):
    return weights - RATE * (adam(gradients, True) + decay * weights)


def lamb(weights, gradients, decay):
    direction = adam(gradients, False)
    if not decay:
        return weights - RATE * direction
    direction = direction + decay * weights
    size = np.linalg.norm(weights)
    ratio = size / np.linalg.norm(direction) if size else 1.0
    return weights - RATE * ratio * direction


def muon(weights, gradients, decay):
    if weights.ndim < 4:
        return adamw(weights, gradients, decay)
    momentum = 0.0
    for gradient in gradients:
        momentum = MOMENTUM * momentum + gradient
    x = gradients[-1] + MOMENTUM * momentum  # Nesterov's
    x = x.reshape(-1, weights.shape[-1])
    rows, columns = x.shape
    x = x if rows <= columns else x.T
    x = x / (np.linalg.norm(x) + 1e-7)
    for _ in range(5):
        product = x @ x.T
        x = 3.4445 * x + (-4.7750 * product + 2.0315 * product @ product) @ x
    x = x if rows <= columns else x.T
    step = 0.2 * np.sqrt(max(rows, columns)) * x.reshape(weights.shape)
    return weights - RATE * (step + decay * weights)


REFERENCES = {"adamw": adamw, "lamb": lamb, "muon": muon}


@pytest.fixture(scope="module")
def gradients():
    """Of each trainable weight, for each step, float64."""
    rng = np.random.default_rng(0)
    shapes = [v.shape for v in some_variables()]
    return [[rng.standard_normal(shape) for shape in shapes] for _ in range(STEPS)]


def new_model():
    keras.utils.set_random_seed(1)
    return scalenet_tf.ScaleNet(MICRO, classes=10)


def some_variables():
    """Kernels with more rows and with more columns, batch norms, the classifier."""
    variables = new_model().trainable_variables
    return [*variables[:5], *variables[-5:]]


@pytest.mark.parametrize("decay_all", [False, True], ids=["kernels", "all"])
@pytest.mark.parametrize("name", DECOUPLED)
@pytest.mark.parametrize(
    ("floatx", "bound"), [("float64", 1e-12), ("float32", 1e-6)], ids=str
)
def test_steps_are_the_published_ones(gradients, name, decay_all, floatx, bound):
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(floatx)
    variables = some_variables()
    schedule = RecipeSchedule(RATE, 100, 0, "steps")
    optimizer = make_optimizer(config(name, decay_all=decay_all), schedule, variables)
    expected = [v.numpy().astype("f8") for v in variables]
    for count in range(1, STEPS + 1):
        for variable, gradient in zip(variables, gradients[count - 1], strict=True):
            optimizer.update_step(tf.constant(gradient, floatx), variable, RATE)
        optimizer.iterations.assign_add(1)
        for index, variable in enumerate(variables):
            expected[index] = REFERENCES[name](
                expected[index],
                [step[index] for step in gradients[:count]],
                DECAY * (decay_all or variable.path.endswith("kernel")),
            )
            close = bound * max(np.abs(expected[index]).max(), RATE)
            np.testing.assert_allclose(
                variable.numpy(), expected[index], rtol=0, atol=close
            )


def test_lamb_of_kernels_of_zeros_is_adam():
    """The trust ratio of what has no length is 1."""
    variable = keras.Variable(np.zeros((2, 2), "f4"), name="kernel")
    optimizer = make_optimizer(
        config("lamb"), RecipeSchedule(RATE, 100, 0, "steps"), [variable]
    )
    optimizer.update_step(tf.ones((2, 2)), variable, RATE)
    np.testing.assert_allclose(variable.numpy(), np.full((2, 2), -RATE), rtol=1e-5)


def trained(strategy, name, objective=None, loss_scale=False):
    with strategy.scope():
        model = new_model()
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
        schedule = RecipeSchedule(RATE, 100, 0, "steps")
        variables = model.trainable_variables
        optimizer = make_optimizer(config(name, decay_all=True), schedule, variables)
        learner = Learner(model, optimizer, None, LossScale() if loss_scale else None)
    step = make_train_step(learner, objective or Objective(8), strategy, xla=False)
    for _ in range(2):
        report = step(distributed(strategy, batch(8, keras.config.floatx())))
    assert not report.diverged
    return learner.model.get_weights(), optimizer


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "name",
    ["lamb", *(pytest.param(n, marks=pytest.mark.slow) for n in ("adamw", "muon"))],
)
def test_two_replicas_and_parts_of_a_batch_make_the_same_steps(name):
    objective = Objective(8, clip_norm=0.5)
    one, _ = trained(NONE, name, objective)
    two, optimizer = trained(mirrored(), name, objective)
    assert_close(two, one)
    for variable in optimizer.variables:
        values = getattr(variable.value, "values", [variable.value])
        for value in values[1:]:
            np.testing.assert_array_equal(value, values[0])
    # A loss scale is a power of two that is taken out again.
    in_parts = Objective(8, clip_norm=0.5, accumulate=2)
    parts, _ = trained(NONE, name, in_parts, loss_scale=True)
    assert_close(parts, one)


@pytest.mark.parametrize("name", DECOUPLED)
def test_applying_gradients_in_kerass_way_decays_once_too(name):
    weights = []
    for apply in (False, True):
        variable = keras.Variable(np.full((2, 3), 2.0, "f4"), name="kernel")
        optimizer = make_optimizer(
            config(name), RecipeSchedule(RATE, 100, 0, "steps"), [variable]
        )
        gradient = tf.constant([[1.0, 2, 3], [3, 1, 2]])
        if apply:
            optimizer.apply([gradient])
        else:
            optimizer.update_step(gradient, variable, RATE)
        weights.append(variable.numpy())
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-6)


def test_every_name_has_a_row():
    assert list(typing.get_args(OptimizerName)) == list(OPTIMIZERS)
    assert list(OWN_SETTINGS) == list(OPTIMIZERS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"optimizer": "adamw", "momentum": 0.5},
            "`momentum` needs `optimizer` sgd or muon. Received: 0.5 with 'adamw'.",
        ),
        (
            {"beta_2": 0.95},
            "`beta_2` needs `optimizer` adamw or lamb or muon. Received: 0.95 with "
            "'sgd'.",
        ),
    ],
    ids=str,
)
def test_settings_of_another_optimizer_are_an_error(changes, message):
    with pytest.raises(SettingError) as refused:
        TrainConfig(**changes)
    assert str(refused.value) == message
    assert isinstance(refused.value, UsageError)
