"""The mathematics of a step does not depend on how it is split: proved in float64.

One process with 1, 2 and 4 virtual devices and two processes on loopback, the same
settings and global batch. Without `float64` two correct runs drift apart within a few
steps.
"""

import json
import os

import keras
import numpy as np
import pytest
from conftest import TINY_CIFAR
from PIL import Image
from processes import TESTS, finish_all, fork, start_workers
from scalenet_training.networks.random_statistics import draw_statistics

import scalenet_tf

JOBS = os.path.join(TESTS, "jobs.py")
LAYOUTS = {
    "one": {"strategy": "none"},
    "two": {"strategy": "mirrored", "virtual_devices": 2},
    "four": {"strategy": "mirrored", "virtual_devices": 4},
    "workers": {"strategy": "multiworker"},
}
# 20 steps of 16 examples of noise: where maps have constant parts, as digits have, the
# order of two equal numbers, and with it a gradient, hangs on the last bit.
TINY_RUN = {
    "eval_split": "validation",
    "batch_size": 16,
    "epochs": 2,
    "augment": "crop-flip",
    "learning_rate": 0.002,
}
ALL_OPTIONS = {
    "clip_norm": 0.5,
    "ema": 0.9,
    "weight_decay": 0.01,
    "label_smoothing": 0.1,
}
OPTIMISATION = {
    "optimizer": "lamb",
    "weight_decay": 0.02,
    "epsilon": 1e-4,  # less divides rounding by rounding, where a gradient is zero
    "layer_decay": 0.75,
    "freeze_epochs": 1,
    "stochastic_depth": 0.5,
    "zero_init_residual": True,
    "clip_norm": 1.0,
    "swa_start": 0.5,
    "early_stopping": 2,
    "best": "loss",
}
# Everything that draws, changes and mixes examples, and what their loss is.
VARIED = {
    "policy": "randaugment",
    "policy_magnitude": 7.0,
    "policy_deviation": 0.5,
    "color_jitter": 0.4,
    "random_erasing": 0.5,
    "mixup": 0.4,
    "cutmix": 1.0,
    "repeats": 3,
    "balance": "weights",
    "loss": "binary",
    "label_smoothing": 0.1,
    "train_split": "train[:150]",  # the last class has 6 examples, the others 16
}


def write_noise(folder, side, count=16):
    """A dataset of 10 classes of random images."""
    random = np.random.default_rng(0)
    for split, examples in (("train", count), ("validation", 2)):
        for label in range(10):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True)
            for number in range(examples):
                pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number:02}.png")
    return str(folder)


def run_layouts(folder, jobs, layouts):
    """Runs in each layout the jobs it names; results by layout and job."""
    started = []
    for layout, names in layouts.items():
        specification = [
            {
                **job,
                "config": {**job["config"], **LAYOUTS[layout]},
                "workdir": str(folder / layout / name),
                "output": str(folder / f"{layout}-{name}.npz"),
            }
            for name, job in jobs.items()
            if name in names
        ]
        arguments = [JOBS, json.dumps(specification)]
        if layout == "workers":
            finish_all(started, timeout=1200)
            started = start_workers(arguments)
        else:
            started.append(fork(arguments))
    finish_all(started, timeout=1200)
    return {
        (layout, name): dict(np.load(folder / f"{layout}-{name}.npz"))
        for layout, names in layouts.items()
        for name in names
    }


def largest_difference(left, right):
    """Of all weights, statistics and slots, by each tensor's largest entry."""
    names = [name for name in right if "|" in name]
    assert names
    assert set(left) == set(right)
    differences = {}
    for name in names:
        largest = max(np.abs(right[name]).max(), 1e-300)
        differences[name] = np.abs(left[name] - right[name]).max() / largest
    worst = max(differences, key=differences.get)
    return differences[worst], worst


def assert_same(left, right, bound=1e-9):
    difference, where = largest_difference(left, right)
    assert difference <= bound, where
    np.testing.assert_allclose(left["row/val_loss"], right["row/val_loss"], rtol=bound)


def write_teacher(folder):
    """A network whose predictions are learned, in float64."""
    keras.utils.set_random_seed(1)
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        model = scalenet_tf.ScaleNet(TINY_CIFAR, classes=10)
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    draw_statistics(model)
    model.save(folder / "teacher.keras")
    return str(folder / "teacher.keras")


def tiny_jobs(folder):
    """The jobs by name, on noise in the folder."""
    chosen = {
        "model": str(folder / "tiny.json"),
        "dataset": write_noise(folder / "noise", TINY_CIFAR.native_size),
    }
    (folder / "tiny.json").write_text(json.dumps(TINY_CIFAR.to_record()))

    def job(float64=True, freeze_batch_norm=False, inspected=False, **options):
        return {
            "config": {**TINY_RUN, **chosen, **options},
            "float64": float64,
            "freeze_batch_norm": freeze_batch_norm,
            "inspected": inspected,
        }

    teacher = {"teacher": write_teacher(folder), "teacher_share": 0.4}
    # 1 x 32 examples, and 4 x 8; 20 steps.
    frozen = {"freeze_batch_norm": True, "batch_size": 32, "epochs": 4, **ALL_OPTIONS}
    return {
        "synchronised": job(sync_batch_norm=True, ema=0.9),
        "plain": job(inspected=True),
        "xla": job(inspected=True, jit="on"),
        "frozen": job(**frozen),
        "accumulated": job(accumulate=4, **frozen),
        "recipe": job(sync_batch_norm=True, **OPTIMISATION, **VARIED, **teacher),
        "float32": job(float64=False, sync_batch_norm=True),
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Of the jobs that each run of the tests has; tracing is what takes long.

    Clipping, averages, decay and accumulation, step by step: tests/test_step.py.
    """
    folder = tmp_path_factory.mktemp("tiny")
    layouts = {
        "one": ("synchronised", "plain", "recipe"),
        "two": ("synchronised", "plain", "xla"),
        "workers": ("synchronised", "plain", "recipe"),
    }
    return run_layouts(folder, tiny_jobs(folder), layouts)


@pytest.fixture(scope="module")
def other_results(tmp_path_factory):
    """Of the other layouts of these jobs."""
    folder = tmp_path_factory.mktemp("tiny")
    layouts = {
        "one": ("synchronised", "frozen", "accumulated", "recipe", "float32"),
        "two": ("frozen", "accumulated", "recipe", "float32"),
        "four": ("synchronised", "frozen"),
        "workers": ("plain", "xla", "frozen", "accumulated", "float32"),
    }
    return run_layouts(folder, tiny_jobs(folder), layouts)


processes = pytest.mark.processes
pytestmark = pytest.mark.timeout(2400)


@processes
@pytest.mark.parametrize("layout", ["two", "workers"])
def test_synchronised_batch_norm_gives_the_run_of_one_device(results, layout):
    one = results["one", "synchronised"]
    assert len(one["losses"]) == 20
    assert_same(results[layout, "synchronised"], one)


@processes
def test_two_processes_give_the_run_of_two_devices(results):
    assert_same(results["workers", "plain"], results["two", "plain"])


@processes
def test_statistics_of_its_own_part_make_another_run(results):
    """What the tests above compare can differ."""
    one, two = results["one", "plain"], results["two", "plain"]
    assert largest_difference(two, one)[0] > 1e-3


def assert_compiled_alike(compiled, plain):
    assert compiled["compiled"] > 0
    assert compiled["collectives_inside"] == 0
    assert plain["compiled"] == 0
    assert compiled["collectives"] > 0
    assert_same(compiled, plain)


@processes
def test_xla_in_each_replica_changes_nothing(results):
    assert_compiled_alike(results["two", "xla"], results["two", "plain"])


@processes
def test_a_modern_recipe_does_not_depend_on_the_split(results):
    """Optimizer, depth, averages, and how examples are drawn, changed and mixed."""
    one = results["one", "recipe"]
    assert len(one["losses"]) == 18
    assert_same(results["workers", "recipe"], one)


@processes
@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "name", "reference"),
    [
        ("four", "synchronised", "synchronised"),
        ("two", "frozen", "frozen"),
        ("four", "frozen", "frozen"),
        ("workers", "frozen", "frozen"),
        ("one", "accumulated", "frozen"),
        ("two", "accumulated", "frozen"),
        ("workers", "accumulated", "frozen"),
        ("two", "recipe", "recipe"),
    ],
)
def test_other_layouts_give_the_run_of_one_device(
    other_results, layout, name, reference
):
    assert_same(other_results[layout, name], other_results["one", reference])


@processes
@pytest.mark.slow
def test_xla_in_each_worker_changes_nothing(other_results):
    compiled, plain = (other_results["workers", name] for name in ("xla", "plain"))
    assert_compiled_alike(compiled, plain)


@processes
@pytest.mark.slow
@pytest.mark.parametrize("layout", ["two", "workers"])
def test_in_float32_the_first_five_losses_agree(other_results, layout):
    one, other = (other_results[key, "float32"]["losses"] for key in ("one", layout))
    np.testing.assert_allclose(other[:5], one[:5], rtol=1e-3)


@processes
@pytest.mark.slow
def test_scalenet_cifar38_does_not_depend_on_the_split(tmp_path):
    noise = write_noise(tmp_path / "noise", 32)
    config = {**TINY_RUN, "model": "ScaleNetCifar38", "dataset": noise}
    # At the rate of the tiny network it diverges, and rounding with it.
    config["learning_rate"] = 0.0002
    jobs = {
        "synchronised": {
            "config": {**config, "sync_batch_norm": True},
            "float64": True,
        },
        "plain": {"config": config, "float64": True},
        "xla": {"config": {**config, "jit": "on"}, "float64": True},
    }
    results = run_layouts(
        tmp_path,
        jobs,
        {
            "one": {"synchronised"},
            "two": jobs,
            "four": {"synchronised"},
            "workers": jobs,
        },
    )
    for layout in ("two", "four", "workers"):
        assert_same(results[layout, "synchronised"], results["one", "synchronised"])
    assert_same(results["workers", "plain"], results["two", "plain"])
    for layout in ("two", "workers"):
        assert_same(results[layout, "xla"], results[layout, "plain"])
