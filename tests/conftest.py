"""Shared by all tests: two virtual CPU devices, a tiny architecture, real data."""

import json
import os
import pathlib
import shlex
import shutil

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as train and evaluate have it
if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has a core of its own
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import keras
import pytest
import situations
import tensorflow as tf
from scalenet_training.cli.app import run_command

import scalenet_tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)

ALL_NETWORKS = scalenet_tf.list_models()

# All that the published networks have, at a size that trains in a second: four
# scales, some without neurons, 1x1 kernels, nearest (14 -> 7), bilinear (14 -> 3,
# 7 -> 3) and clamped windows (maps of 3 and 1).
TINY = scalenet_tf.Architecture(
    name="Tiny",
    stem="imagenet",
    native_size=56,
    scales=(1, 2, 4, 7),
    stage_widths=(4, 4, 8, 8),
    blocks_per_stage=(2, 1, 1, 1),
    budget_per_stage=(8, 7, 9, 8),
    allocation=((2, 2, 2, 2), (4, 0, 3, 1), (3, 2, 1, 1), (4, 3, 0, 2), (2, 2, 2, 2)),
)


# For whole runs on 32x32 images: an epoch takes a second.
TINY_CIFAR = scalenet_tf.Architecture(
    name="TinyCifar",
    stem="cifar",
    native_size=32,
    scales=(1, 2, 4),
    stage_widths=(4, 8),
    blocks_per_stage=(1, 1),
    budget_per_stage=(6, 9),
    allocation=((3, 2, 1), (5, 4, 0)),
)


# (name of the test file, area and name of the situation), of all collected tests
SITUATIONS = pytest.StashKey[list]()


def pytest_addoption(parser):
    parser.addoption(
        "--write-situations",
        action="store_true",
        help="write docs/situations.md from what the tests see, instead of comparing",
    )
    parser.addoption(
        "--kills",
        type=int,
        default=30,
        help="how often the slow tests kill programs, all together",
    )


@pytest.hookimpl(tryfirst=True)  # before tests are left out by their marks
def pytest_collection_modifyitems(config, items):
    config.stash[SITUATIONS] = [
        (item.path.name, situations.marked(item)) for item in items
    ]


@pytest.fixture
def collected_situations(request):
    """(name of the test file, area and name of its situation) of each test."""
    return request.config.stash[SITUATIONS]


@pytest.fixture
def outcome(request):
    """Says what came out of the test's situation: a row of docs/situations.md."""
    key = situations.marked(request.node)
    assert key is not None, "mark the test with situations.situation(AREA, NAME)"
    if request.config.getoption("--write-situations"):
        return lambda text: situations.write_row(key, text)
    return lambda text: situations.check_row(key, text)


@pytest.fixture
def tiny_cifar_file(tmp_path):
    """The architecture file of a tiny network for 32x32 images."""
    path = tmp_path / "tiny_cifar.json"
    path.write_text(json.dumps(TINY_CIFAR.to_record()))
    return str(path)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def unpack_written(folder):
    """Puts what version 0.1.0 wrote into a folder."""
    archive = pathlib.Path(__file__).parent / "data" / "written-by-0.1.0.tar.xz"
    shutil.unpack_archive(archive, folder)  # no filter: 3.11.2 has none


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The current folder, with what version 0.1.0 wrote there."""
    unpack_written(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run_verb(capsys):
    """Runs a command in this process: exit code, stdout, stderr."""

    def run(verb, words):
        code = 0
        try:
            run_command(verb, shlex.split(words), f"scalenet {verb}")
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def tiny():
    """A tiny architecture with all the parts of the published ones."""
    return TINY


@pytest.fixture(autouse=True)
def _reproducible():
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def float64():
    """Everything in float64, where rounding cannot hide an error."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")


@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """A model repository, and photographs as files; see `served.Exports`."""
    from served import Exports

    return Exports(tmp_path_factory.mktemp("exports"))


@pytest.fixture(scope="session")
def repository(exports):
    """The models of `exports`, loaded as a server loads them."""
    return exports.loaded()


@pytest.fixture(params=["rest", "grpc"])
def server(request, repository):
    """A server of each of TensorFlow Serving's two APIs over `repository`."""
    from served import running

    with running(request.param, repository) as server:
        yield server


@pytest.fixture
def data_dir():
    """The folder with CIFAR-10 and the ImageNet photographs."""
    folder = os.environ.get("SCALENET_DATA_DIR")
    if not folder:
        pytest.skip("SCALENET_DATA_DIR is not set: no folder with real images")
    return folder
