"""Runs that are killed, interrupted, or lose a worker go on as if nothing happened.

Bit for bit, on the CPU: the metrics and weights of the same run undisturbed.
"""

import contextlib
import csv
import json
import os
import random
import re
import shlex
import signal
import time

import keras
import numpy as np
import pytest
from conftest import TINY_CIFAR
from processes import (
    TESTS,
    TRAINING,
    finish,
    finish_all,
    fork,
    free_ports,
    start_workers,
    tf_config,
)

import scalenet_tf

pytestmark = pytest.mark.processes
JOBS = os.path.join(TESTS, "jobs.py")
TRAIN = os.path.join(TRAINING, "train.py")


@pytest.fixture(scope="module")
def architecture(tmp_path_factory):
    path = tmp_path_factory.mktemp("architecture") / "tiny_cifar.json"
    path.write_text(json.dumps(TINY_CIFAR.to_record()))
    return str(path)


def command(architecture, workdir, *options):
    """Some seconds of training, a checkpoint every second step and every epoch."""
    return [
        TRAIN,
        *("--model", architecture, "--workdir", str(workdir)),
        *("--train-split", "train[:256]", "--eval-split", "validation[:50]"),
        *("--batch-size", "16", "--epochs", "6", "--ema", "0.9"),
        *("--checkpoint-steps", "2", *options),
    ]


@pytest.fixture(scope="module")
def undisturbed(architecture, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(fork(command(architecture, workdir)))
    return workdir


@pytest.fixture(scope="module")
def undisturbed_workers(architecture, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    finish_all(start_workers(command(architecture, workdir)))
    return workdir


def assert_same_run(workdir, expected):
    for name in ("last", "best"):
        actual, wanted = (
            keras.saving.load_model(folder / f"{name}.keras").get_weights()
            for folder in (workdir, expected)
        )
        for left, right in zip(actual, wanted, strict=True):
            np.testing.assert_array_equal(left, right)
    assert metrics(workdir) == metrics(expected)
    left = [
        p.name for p in workdir.rglob("*") if "temp" in p.name or "writing" in p.name
    ]
    assert not left


def metrics(workdir):
    with open(workdir / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]


def wait_for_training(process):
    """Reads the output up to the first epoch's begin."""
    for line in process.stdout:
        if line.startswith("Epoch"):
            return
    raise AssertionError("ended before it trained")


def kill_some_time(process, seconds, number=signal.SIGKILL):
    """Sends a signal at a random moment after training began."""
    wait_for_training(process)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def lose_a_worker(arguments, victim, seconds):
    """Kills a worker; the other has to say so and end within a minute."""
    workers = start_workers(arguments)
    wait_for_training(workers[0])
    time.sleep(seconds)
    workers[victim].kill()
    output = finish(workers[1 - victim], code=138, timeout=60)
    assert "has lost another one" in output
    assert "the same command" in output
    assert "Traceback" not in output
    workers[victim].communicate()


@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_that_dies_ends_the_others_and_the_run_resumes(
    architecture, undisturbed_workers, tmp_path, victim
):
    arguments = command(architecture, tmp_path / "run")
    lose_a_worker(arguments, victim, 1.0)
    finish_all(start_workers(arguments))
    assert_same_run(tmp_path / "run", undisturbed_workers)


@pytest.mark.slow
def test_a_worker_that_dies_three_times_at_random_moments(
    architecture, undisturbed_workers, tmp_path
):
    arguments = command(architecture, tmp_path / "run")
    moments = random.Random(1)
    for number in range(3):
        lose_a_worker(arguments, number % 2, moments.uniform(0, 1.5))
    finish_all(start_workers(arguments))
    assert_same_run(tmp_path / "run", undisturbed_workers)


@pytest.mark.slow
def test_a_worker_that_hangs_ends_the_others_within_a_minute(architecture, tmp_path):
    workers = start_workers(command(architecture, tmp_path / "run", "--epochs", "999"))
    wait_for_training(workers[0])
    workers[1].send_signal(signal.SIGSTOP)
    try:
        output = finish(workers[0], code=138, timeout=60)
    finally:
        workers[1].kill()
        workers[1].communicate()
    assert "has lost another one" in output


@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_saves_and_the_printed_command_resumes(
    architecture, undisturbed, tmp_path, number, code
):
    arguments = command(architecture, tmp_path / "run")
    process = fork(arguments)
    kill_some_time(process, 0.5, signal.Signals[number])
    output = finish(process, code)
    step = re.search(rf"stopped by {number} after step (\d+) of 96", output)[1]
    assert f"To resume: {shlex.join(['python', *arguments])}" in output
    output = finish(fork(arguments))
    assert f"Resuming at step {step} of 96" in output
    assert_same_run(tmp_path / "run", undisturbed)


def job(architecture, tmp_path, name="run", **more):
    config = {
        "model": architecture,
        "train_split": "train[:64]",
        "eval_split": "validation[:50]",
        "batch_size": 16,
        "epochs": 3,
        **more.pop("config", {}),
    }
    paths = {
        "workdir": str(tmp_path / name),
        "output": str(tmp_path / f"{name}.npz"),
    }
    return {"config": config, **paths, **more}


@pytest.mark.parametrize("worker", [0, 1])
def test_workers_stop_together_where_one_gets_a_signal(architecture, tmp_path, worker):
    multiworker = {"config": {"strategy": "multiworker"}}
    interrupted = job(
        architecture, tmp_path, **multiworker, signal=["SIGTERM", worker, 5]
    )
    outputs = finish_all(
        start_workers([JOBS, json.dumps([interrupted])]), code=128 + signal.SIGTERM
    )
    # It came while the sixth step began; the seventh told the others.
    for rank, output in enumerate(outputs):
        by = "by SIGTERM" if rank == worker else "with another worker"
        assert f"stopped {by} after step 7 of 12" in output
    again = job(architecture, tmp_path, **multiworker)
    whole = job(architecture, tmp_path, "whole", **multiworker)
    finish_all(start_workers([JOBS, json.dumps([again])]))
    finish_all(start_workers([JOBS, json.dumps([whole])]))
    resumed, undisturbed = (np.load(spec["output"]) for spec in (again, whole))
    for name in (n for n in undisturbed if "|" in n):
        np.testing.assert_array_equal(resumed[name], undisturbed[name])


def test_a_run_goes_on_with_fewer_and_more_replicas(architecture, tmp_path):
    """2 replicas, then 1, then 4: the run of one device, to rounding in float64."""
    whole = job(
        architecture, tmp_path, "whole", float64=True, config={"sync_batch_norm": True}
    )
    finish(fork([JOBS, json.dumps([whole])]))
    for steps, devices in ((5, 2), (7, 0), (12, 4)):
        part = job(
            architecture,
            tmp_path,
            float64=True,
            config={
                "sync_batch_norm": True,
                "max_steps": steps,
                "virtual_devices": devices,
            },
        )
        output = finish(fork([JOBS, json.dumps([part])]))
    assert "Resuming at step 7 of 12" in output
    parts, one = np.load(part["output"]), np.load(whole["output"])
    names = [name for name in one if "|" in name]
    for name in names:
        largest = max(np.abs(one[name]).max(), 1e-300)
        assert np.abs(parts[name] - one[name]).max() <= 1e-9 * largest, name


def test_workers_whose_run_diverges_say_so_together(architecture, tmp_path):
    """Also where a checkpoint is due on one of them alone."""
    wild = ("--learning-rate", "1e25", "--warmup-epochs", "0")
    wild += ("--checkpoint-steps", "0", "--checkpoint-minutes", "0.0001")
    workers = start_workers(command(architecture, tmp_path / "run", *wild))
    for output in finish_all(workers, code=1):
        assert "became NaN or infinite at step 2 of 96" in output


def test_evaluation_counts_every_example_once_on_any_number_of_replicas(
    undisturbed, tmp_path
):
    evaluate = [os.path.join(TRAINING, "evaluate.py"), str(undisturbed)]
    evaluate += ["--eval-split", "all", "--batch-size", "64"]
    outputs = [
        finish(fork([*evaluate, "--virtual-devices", str(devices)]))
        for devices in (0, 2, 4)
    ]
    outputs += finish_all(start_workers(evaluate))
    results = {
        re.search(r"1797 examples: top-1 error [\d.]+%, top-5 error [\d.]+%", text)[0]
        for text in outputs
    }
    assert len(results) == 1


def test_slurm_tasks_are_workers(architecture, tmp_path):
    arguments = command(architecture, tmp_path / "run", "--max-steps", "2")
    job_id = str(os.getpid())
    tasks = [
        fork(
            arguments,
            SLURM_JOB_ID=job_id,
            SLURM_PROCID=str(rank),
            SLURM_STEP_NUM_TASKS="2",
            SLURM_STEP_NODELIST="localhost",
            SLURM_STEP_TASKS_PER_NODE="2",
        )
        for rank in range(2)
    ]
    outputs = finish_all(tasks)
    assert "strategy multiworker, 2 CPU replica(s) on 2 workers" in outputs[0]
    assert "Worker 1 of 2." in outputs[1]


def test_workers_without_a_shared_folder_are_told_so(architecture, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    finish(fork(command(architecture, first, "--max-steps", "4")))
    ports = free_ports(2)
    workers = [
        fork(command(architecture, folder), TF_CONFIG=tf_config(ports, rank))
        for rank, folder in enumerate((first, second))
    ]
    for output in finish_all(workers, code=1):
        assert "the workers have restored different steps, by replica: 4, 0" in output
    assert not second.exists()


OTHERS = {
    "a setting": (
        ("--learning-rate", "0.03"),
        "differ in --learning-rate. Start all of them by the same command",
    ),
    "steps": (("--max-steps", "5"), "differ in --max-steps. Start"),
}


@pytest.mark.parametrize(("options", "message"), OTHERS.values(), ids=OTHERS)
def test_workers_that_are_started_otherwise_end_together(
    architecture, tmp_path, options, message
):
    ports, run = free_ports(2), tmp_path / "run"
    workers = [
        fork(command(architecture, run, *own), TF_CONFIG=tf_config(ports, rank))
        for rank, own in enumerate(((), options))
    ]
    for output in finish_all(workers, code=2):
        assert message in output
    assert not run.exists()


def test_workers_with_other_images_end_together(architecture, tmp_path):
    """Folders of the same name on disks of their own; one lacks an image."""
    ports, workers = free_ports(2), []
    for rank in range(2):
        folder = tmp_path / str(rank) / "photos"
        for number in range(40 - rank):
            path = folder / ("cat", "dog")[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            keras.utils.save_img(path, np.full((32, 32, 3), number), scale=False)
        arguments = [
            *(TRAIN, "--model", architecture, "--dataset", str(folder)),
            *("--batch-size", "4", "--max-steps", "2"),
            *("--workdir", str(tmp_path / "run")),
        ]
        workers.append(fork(arguments, TF_CONFIG=tf_config(ports, rank)))
    for output in finish_all(workers, code=2):
        assert "differ in the examples (--dataset). Start all of them" in output
    assert not (tmp_path / "run").exists()


def test_workers_that_start_from_other_weights_end_together(architecture, tmp_path):
    """Files of one name, on disks of their own."""
    ports, workers = free_ports(2), []
    for rank in range(2):
        keras.utils.set_random_seed(rank)
        (tmp_path / str(rank)).mkdir()
        path = tmp_path / str(rank) / "a.weights.h5"
        scalenet_tf.ScaleNet(TINY_CIFAR, classes=10).save_weights(path)
        arguments = command(architecture, tmp_path / "run", "--weights", str(path))
        workers.append(fork(arguments, TF_CONFIG=tf_config(ports, rank)))
    for output in finish_all(workers, code=2):
        assert "differ in the weights to start from (--weights). Start" in output
    assert not (tmp_path / "run").exists()
