"""The library on the other backends of Keras, each in a process without TensorFlow.

This process computes by TensorFlow, and what it computes is what is expected.
"""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys

import h5py
import keras
import numpy as np
import on_backend
import pytest
from conftest import ALL_NETWORKS, TINY
from processes import ROOT, TESTS, TRAINING, environment
from scalenet_training.networks.random_statistics import draw_statistics

import scalenet_tf
from scalenet_tf import backends
from scalenet_tf.layers import (
    BatchNormalization,
    keras_operations,
    tensorflow_operations,
)

QUICK = ("ScaleNetCifar38", "ScaleNet50")
SLOW = tuple(name for name in ALL_NETWORKS if name not in QUICK)

# PyTorch 2.13 cannot train a convolution of one filter in float64 on the CPU.
WIDER = dataclasses.replace(
    TINY,
    allocation=((2, 2, 2, 2), (4, 0, 2, 2), (3, 2, 2, 0), (4, 3, 0, 2), (2, 2, 2, 2)),
)


@pytest.fixture(params=["jax", "torch"])
def backend(request):
    """Another backend of Keras that is installed."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


def started(backend, *arguments, check=True):
    """A Python program on a backend; the modules of the tests are there."""
    paths = [ROOT, TRAINING, TESTS, os.environ.get("PYTHONPATH", "")]
    more = {"KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(paths)}
    if "float64" in arguments:
        more["JAX_ENABLE_X64"] = "1"
    # What is compiled runs once: XLA need not make it fast.
    more["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment(**more),
        capture_output=True,
        text=True,
    )
    assert not check or result.returncode == 0, result.stdout + result.stderr
    return result


def done(backend, work, folder, *names):
    """The arrays of a function of `on_backend`, run without TensorFlow."""
    started(backend, f"{TESTS}/on_backend.py", work, folder, *names)
    with np.load(folder / f"{work}-{backend}.npz") as arrays:
        return dict(arrays)


def assert_equal(actual, expected, bound=1e-5):
    """Within a part of the largest number of each array."""
    assert actual.keys() == expected.keys()
    for name, wanted in expected.items():
        difference = np.abs(actual[name] - np.asarray(wanted)).max(initial=0)
        assert difference <= bound * np.abs(wanted).max(initial=0), (name, difference)


def draw(model):
    """Weights as after training: statistics, scales and shifts are all of them used."""
    draw_statistics(model)
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if weight.path.endswith("gamma"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.path.endswith(("beta", "bias")):
            weight.assign(rng.normal(0, 0.1, weight.shape))


@pytest.fixture
def folder(tmp_path):
    """A tiny network with all parts of the published ones, in every kind of file."""
    (tmp_path / "architecture.json").write_text(json.dumps(TINY.to_record()))
    model = scalenet_tf.ScaleNet(TINY, classes=3, classifier_activation=None)
    draw(model)
    model.save(tmp_path / "model.keras")
    model.save(tmp_path / "model.h5")
    model.save_weights(tmp_path / "model.weights.h5")
    return tmp_path


@pytest.mark.processes
def test_it_is_imported_without_tensorflow(backend):
    code = "import sys, scalenet_tf; print('tensorflow' in sys.modules)"
    assert started(backend, "-c", code).stdout == "False\n"


def check_networks(backend, folder, names):
    """Logits, weights from and to TensorFlow, a step of `fit`."""
    keras.utils.set_random_seed(0)
    bounds = {}
    for name in names:
        side = 32 if "cifar" in name.lower() else 64
        model = on_backend.network(name, input_shape=(side, side, 3))
        draw(model)
        model.save_weights(folder / f"{name}.weights.h5")
        bounds[name] = change_by_rounding(model)
    expected = on_backend.networks(folder, *names)
    actual = done(backend, "networks", folder, *names)
    for name in names:
        assert actual.pop(f"{name} moved").all()
        assert expected.pop(f"{name} moved").all()
        (loss,), (wanted,) = (x.pop(f"{name} loss") for x in (actual, expected))
        assert abs(loss - wanted) <= max(1e-3 * wanted, 5 * bounds[name]), name
    assert_equal(actual, expected)
    for name in names:
        check_exchanged(name, folder / f"{name}-{backend}.weights.h5")


def change_by_rounding(model):
    """How much the last bit of the images changes the loss of a step in TensorFlow.

    In the last stage of a deep network a batch of four has batch norms of few numbers:
    that of ScaleNet152 changes by 1 %.
    """
    x = on_backend.images(4, model.input_shape[1]).astype("float32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    first, *others = (
        float(loss(np.arange(4), model(x * np.float32(1 + bit), training=True)))
        for bit in (0, 2**-22, -(2**-22), 2**-21)
    )
    return max(abs(other - first) for other in others)


def check_exchanged(name, path):
    """The weights that a backend wrote are read by TensorFlow bit for bit."""
    model = on_backend.network(name, path)
    with h5py.File(path) as file:
        written = []
        file.visititems(
            lambda _, item: (
                written.append(item[()]) if isinstance(item, h5py.Dataset) else None
            )
        )
    read = sorted(array.tobytes() for array in model.get_weights())
    assert read == sorted(array.tobytes() for array in written if array.ndim)


@pytest.mark.processes
def test_networks_are_those_of_tensorflow(backend, tmp_path):
    check_networks(backend, tmp_path, QUICK)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("name", SLOW)
def test_every_network_is_that_of_tensorflow(backend, name, tmp_path):
    check_networks(backend, tmp_path, [name])


@pytest.mark.processes
def test_every_part_of_the_library_gives_the_same(backend, folder):
    expected = on_backend.parts(folder)
    assert np.abs(expected["logits"]).max() > 0.1
    actual = done(backend, "parts", folder)
    for name in ("MACs", "allocation", "best"):
        np.testing.assert_array_equal(actual[name], expected[name])
    assert_equal(actual, expected)


@pytest.mark.processes
def test_weights_are_read_bit_for_bit(backend, folder):
    actual, expected = done(backend, "stored", folder), on_backend.stored(folder)
    assert actual.keys() == expected.keys()
    for path, array in expected.items():
        np.testing.assert_array_equal(actual[path], array)


# Keras takes means in float32 on other backends, also of float64.
@pytest.mark.processes
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-2), ("float64", 1e-3)])
def test_fit_moves_weights_and_statistics_as_tensorflow_does(
    backend, dtype, bound, folder
):
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    model = scalenet_tf.ScaleNet(WIDER, classes=3, classifier_activation=None)
    draw(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.125), loss)
    model.save(folder / "start.keras")
    start = on_backend.by_path(model)
    expected = on_backend.trained(folder, dtype)
    actual = done(backend, "trained", folder, dtype)
    moved = {path: expected[path] - array for path, array in start.items()}
    assert all(np.abs(array).max() > 1e-4 for array in moved.values())
    assert_equal({path: actual[path] - start[path] for path in start}, moved, bound)
    statistics = {path: a for path, a in expected.items() if "/moving_" in path}
    assert len(statistics) == 2 * sum("/gamma" in path for path in expected)
    assert_equal({path: actual[path] for path in statistics}, statistics)
    loaded = scalenet_tf.load_model(folder / f"{backend}-{dtype}.keras")
    weights = folder / f"{backend}-{dtype}.weights.h5"
    for other in (loaded, scalenet_tf.ScaleNet(WIDER, classes=3, weights=weights)):
        for array, wanted in zip(other.get_weights(), actual.values(), strict=True):
            np.testing.assert_array_equal(array, wanted)


@pytest.mark.processes
def test_bfloat16_is_near(backend, tmp_path):
    assert_equal(
        done(backend, "narrow", tmp_path), on_backend.narrow(tmp_path), bound=0.05
    )


@pytest.mark.processes
def test_what_is_tensorflows_alone_is_named(backend, folder):
    said = done(backend, "refusals", folder)
    users = {
        "decode": "scalenet_tf.decoding.decode_image",
        "decode, too": "scalenet_tf.decoding.decode_image",
        "save": "scalenet_tf.export.save_savedmodel",
        "convert": "scalenet_tf.export.convert_onnx",
        "verify": "scalenet_tf.export.verify",
        "write": "export to tflite",
        "fit": "training with batch norms of all replicas (synchronized=True)",
    }
    assert said.keys() == users.keys()
    for name, user in users.items():  # Keras adds to what a layer raises
        message = (
            f"{user} works on the TensorFlow backend of Keras alone. Received: the "
            f"backend {backend!r}. Set the environment variable "
            "KERAS_BACKEND=tensorflow, or remove it, before Keras is imported; what "
            "another backend has saved loads there."
        )
        assert message in str(said[name])
        assert str(said[name]) == message or name == "fit"


@pytest.mark.processes
@pytest.mark.parametrize(
    ("arguments", "user"),
    [
        (["train"], "train.py"),
        (
            ["predict", "a.png", "--model", "model.keras"],
            "predict of a run or a .keras",
        ),
    ],
)
def test_commands_of_tensorflow_say_so(arguments, user, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "a.png").touch()
    verb, *words = arguments
    result = started("jax", f"{ROOT}/training/{verb}.py", *words, check=False)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {user}"), line
    assert "alone. Received: the backend 'jax'." in line


@pytest.mark.processes
def test_their_help_does_not_depend_on_the_backend():
    result = started("jax", f"{ROOT}/training/train.py", "--help")
    assert "--learning-rate" in result.stdout


def test_the_backend_is_known_without_keras(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    for backend in ("torch", ""):
        monkeypatch.setenv("KERAS_BACKEND", backend)
        assert backends.backend_name() == (backend or "tensorflow")
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    with pytest.raises(
        backends.BackendError, match=r"^it works .* backend 'jax'\. Set"
    ):
        backends.require_tensorflow("it")
    (tmp_path / "keras.json").write_text("[")
    backends.require_tensorflow("it")


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("size", [(14, 14), (8, 6), (3, 9), (1, 1)], ids=str)
@pytest.mark.parametrize("scale", [2, 4, 7])
def test_the_operations_of_keras_are_those_of_tensorflow(size, scale, dtype):
    x = keras.ops.cast(np.random.default_rng(0).standard_normal((2, *size, 3)), dtype)
    bound = {"float64": 1e-14, "float32": 1e-6, "bfloat16": 1e-2}[dtype]
    small = [operations(x) for operations in map(_pooled(scale), _BOTH)]
    np.testing.assert_array_equal(*small)
    whole = all(n % m == 0 for n, m in zip(size, small[0].shape[1:3], strict=True))
    name = "repeat_pixels" if whole else "interpolate"
    large = [
        keras.ops.cast(getattr(module, name)(small[0], size), "float64")
        for module in _BOTH
    ]
    assert large[0].shape == (2, *size, 3)
    np.testing.assert_allclose(*large, rtol=0, atol=bound)


_BOTH = (keras_operations, tensorflow_operations)


def _pooled(scale):
    return lambda module: lambda x: module.max_pool(x, scale)


@pytest.mark.parametrize("repeats", [1, 4])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_batch_norm_of_keras_operations_is_tensorflows(dtype, repeats):
    keras.config.set_floatx(dtype)
    layer = BatchNormalization(epsilon=1e-5)
    layer.build((None, 3, 5, 4))
    layer.gamma.assign([1.0, -2.0, 0.5, 3.0])
    x = np.random.default_rng(0).normal(100, 1, (8, 3, 5, 4)).astype(dtype)
    x = keras.ops.convert_to_tensor(x)
    results = [module.normalize_by_batch(layer, x, repeats) for module in _BOTH]
    for actual, expected in zip(*results, strict=True):
        tolerance = 1e-10 if dtype == "float64" else 1e-4
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)
