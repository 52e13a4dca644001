"""Weak scaling: images a second of several workers over those of one."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import socket
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence

from scalenet_training.bars import Bar
from scalenet_training.benchmark.config import ScalingConfig
from scalenet_training.errors import RunError, UsageError
from scalenet_training.invocation import process_of
from scalenet_training.runs.metrics import METRICS_FILE


def measure_scaling(config: ScalingConfig) -> list[float]:
    """Prints and returns the ratio of each round.

    Raises:
        UsageError: A setting is not allowed.
        RunError: A run failed.
    """
    cores = sorted(os.sched_getaffinity(0))
    if not 2 <= config.workers <= len(cores):
        raise UsageError(
            f"`workers` must be from 2 to the number of cores, {len(cores)}. "
            f"Received: {config.workers}."
        )
    if config.steps < 2:
        raise UsageError(f"`steps` must be at least 2. Received: {config.steps}.")
    ratios = []
    for number in Bar(range(config.rounds), unit="round"):
        # The order changes, so that a drift of the machine's speed cancels.
        order = (1, config.workers) if number % 2 == 0 else (config.workers, 1)
        speeds = {count: _images_per_second(config, cores[:count]) for count in order}
        ratio = speeds[config.workers] / speeds[1]
        Bar.write(
            f"1 worker {speeds[1]:.1f} images/s, {config.workers} workers "
            f"{speeds[config.workers]:.1f} images/s, ratio {ratio:.2f}"
        )
        ratios.append(ratio)
    print(
        f"median ratio {statistics.median(ratios):.2f} of {config.workers} "
        f"({min(ratios):.2f} to {max(ratios):.2f} in {config.rounds} rounds)"
    )
    return ratios


def _images_per_second(config: ScalingConfig, cores: Sequence[int]) -> float:
    workers = len(cores)
    with tempfile.TemporaryDirectory() as folder:
        workdir = os.path.join(folder, "run")
        options = [
            *("--model", config.model, "--workdir", workdir),
            *("--batch-size", str(config.batch_size * workers), "--epochs", "1000"),
            *("--max-steps", str(config.steps), "--eval-split", "validation[:32]"),
            *("--strategy", "multiworker" if workers > 1 else "none"),
        ]
        _run_pinned(options, cores)
        with open(os.path.join(workdir, METRICS_FILE), newline="") as file:
            return float(list(csv.DictReader(file))[-1]["images_per_second"])


def _run_pinned(options: Sequence[str], cores: Sequence[int]) -> None:
    """Trains with a worker on each core; the first is the chief."""
    command, environment = process_of("train", options)
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(len(cores))]
    processes = []
    with contextlib.ExitStack() as stack:
        for index, core in enumerate(cores):
            cluster: Mapping = {
                "cluster": {"worker": addresses},
                "task": {"type": "worker", "index": index},
            }
            variables = {
                **environment,
                "TF_NUM_INTRAOP_THREADS": "1",
                "TF_NUM_INTEROP_THREADS": "1",
                "TF_CONFIG": json.dumps(cluster) if len(cores) > 1 else "",
            }
            pinned = ["taskset", "--cpu-list", str(core), *command]
            process = subprocess.Popen(
                pinned,
                env=variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            stack.callback(process.kill)
            processes.append(process)
        outputs = [process.communicate()[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        if process.returncode:
            raise RunError(f"a run of train.py failed:\n{output}")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            for _ in range(count)
        ]
        return [opened.getsockname()[1] for opened in sockets]
