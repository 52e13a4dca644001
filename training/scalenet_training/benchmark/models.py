"""Networks beside each other: time, memory, and what they cost by their layers."""

from __future__ import annotations

import dataclasses
import os
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import scalenet_tf
from scalenet_tf.export import Exportable, ExportFormat, open_exported
from scalenet_tf.export.formats import get_format
from scalenet_tf.preprocessing import EvaluationTransform
from scalenet_tf.profiling import count_parameters
from scalenet_training.benchmark.config import ModelsConfig
from scalenet_training.benchmark.figures import plot_times
from scalenet_training.benchmark.model_speed import ModelSpeed, print_table
from scalenet_training.benchmark.peers import PEERS
from scalenet_training.devices.timing import interleaved
from scalenet_training.errors import RunError, usage_errors
from scalenet_training.invocation import process_of
from scalenet_training.networks.random_statistics import draw_statistics
from scalenet_training.networks.starting_point import resolve_architecture
from scalenet_training.runs.files import disk_errors, replacing, write_rows
from scalenet_training.runs.versions import versions
from scalenet_training.train.step import Learner, Objective, make_train_step

_GRAPH = "tensorflow"
_SIZE = 224  # of the peers
# In the environment of a process that measures one network, once.
_ALONE = "SCALENET_BENCHMARK_ALONE"

Run = Callable[[], Any]


def measure_models(config: ModelsConfig) -> list[ModelSpeed]:
    """Measures, prints a table, and writes what was asked for.

    Raises:
        UsageError: A setting is not allowed, or there is no such network.
        RunError: A process failed, or a file cannot be written.
    """
    config.check()
    if _ALONE in os.environ:
        _measure_alone(config)
        return []
    with usage_errors():
        formats = [get_format(name) for name in config.formats]
        networks = {name: build(name, config) for name in config.networks}
    _print_header(config)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        exported = {
            (entry.name, name): _export(entry, model, os.path.join(folder, str(number)))
            for number, (name, model) in enumerate(networks.items())
            for entry in formats
            if name not in PEERS
        }
        for batch_size in config.batch_sizes:
            alone = {n: _alone(config, n, batch_size) for n in networks}
            runs = {
                (_GRAPH, name): make_run(model, config, batch_size)
                for name, model in networks.items()
            }
            for key, model in exported.items():
                runs[key] = _bound(model.run, _images(networks[key[1]], batch_size))
            rows += _rows(config, networks, runs, alone, batch_size)
    print_table(rows)
    if config.output is not None:
        write_rows(config.output, [dataclasses.asdict(row) for row in rows])
    if config.plot is not None:
        with disk_errors(config.plot), replacing(config.plot) as path:
            plot_times(rows, path)
    for path in filter(None, (config.output, config.plot)):
        print(f"written: {path}")
    return rows


def build(name: str, config: ModelsConfig) -> keras.Model:
    """Builds a network with random weights and statistics.

    Those of a new network make numbers so small that they are slow.
    """
    keras.utils.set_random_seed(0)
    before = keras.config.dtype_policy()
    if config.mixed_precision != "off":
        keras.config.set_dtype_policy(f"mixed_{config.mixed_precision}")
    try:
        if name in PEERS:
            model = PEERS[name](config.image_size or _SIZE, config.classes)
        else:
            architecture = resolve_architecture(name, "`networks`")
            size = config.image_size or architecture.native_size
            model = scalenet_tf.ScaleNet(
                architecture, input_shape=(size, size, 3), classes=config.classes
            )
    finally:
        keras.config.set_dtype_policy(before)
    draw_statistics(model)
    return model


def _images(model: keras.Model, batch_size: int) -> np.ndarray:
    shape = (batch_size, *model.input_shape[1:])
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _bound(function: Callable[[Any], Any], images: Any) -> Run:
    return lambda: function(images)


def make_run(model: keras.Model, config: ModelsConfig, batch_size: int) -> Run:
    """What `work` does with a batch, as a function that returns when it is done."""
    images = tf.constant(_images(model, batch_size))
    if config.work == "step":
        return _training_step(model, images, config.jit)
    call = tf.function(
        lambda x: model(x, training=False), jit_compile=config.jit or None
    )
    return lambda: call(images).numpy()


def _training_step(model: keras.Model, images: tf.Tensor, jit: bool) -> Run:
    """A step of SGD with momentum on the images, as `train` makes it."""
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer.build(model.trainable_variables)
    batch_size, classes = images.shape[0], model.output_shape[-1]
    labels = np.random.default_rng(0).integers(0, classes, batch_size)
    batch = (images, tf.constant(labels), tf.ones(batch_size))
    learner = Learner(model, optimizer)
    objective = Objective(global_batch=batch_size, weight_decay=1e-4)
    step = make_train_step(learner, objective, tf.distribute.get_strategy(), jit)
    return lambda: step(batch).sums.numpy()


def _export(entry: ExportFormat, model: keras.Model, folder: str) -> Any:
    size = model.input_shape[1]
    names = [str(index) for index in range(model.output_shape[-1])]
    content = Exportable(model, EvaluationTransform(size, size), names)
    place = os.path.join(folder, entry.name)
    return open_exported(entry.write(content, place, "network", entry.options({})))


def _alone(config: ModelsConfig, name: str, batch_size: int) -> tuple[float, float]:
    """Seconds until the first call is done and MiB at most, in a new process."""
    options = [
        *("models", name, "--work", config.work, "--batch-sizes", str(batch_size)),
        *("--classes", str(config.classes), "--mixed-precision"),
        *(config.mixed_precision, "--jit" if config.jit else "--no-jit"),
    ]
    if config.image_size is not None:
        options += ["--image-size", str(config.image_size)]
    command, environment = process_of("benchmark", options)
    ended = subprocess.run(
        command,
        env={**environment, _ALONE: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise RunError(f"the process that measures {name} failed:\n{ended.stderr}")
    seconds, peak = ended.stdout.split()[-2:]
    return float(seconds), float(peak)


def _measure_alone(config: ModelsConfig) -> None:
    began = time.perf_counter()
    make_run(build(config.networks[0], config), config, config.batch_sizes[0])()
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\n{seconds:.2f} {peak:.0f}")


def _rows(
    config: ModelsConfig,
    networks: Mapping[str, keras.Model],
    runs: Mapping[tuple[str, str], Run],
    alone: Mapping[str, tuple[float, float]],
    batch_size: int,
) -> list[ModelSpeed]:
    rows = []
    for runtime in dict.fromkeys(runtime for runtime, _ in runs):
        own = {name: run for (place, name), run in runs.items() if place == runtime}
        title = f"{runtime}, batches of {batch_size}"
        times = interleaved(own, config.rounds, title)
        first = next(iter(times.values()))
        for name, seconds in times.items():
            low, high = np.quantile(seconds, (0.1, 0.9))
            pairs = zip(seconds, first, strict=True)
            rows.append(
                ModelSpeed(
                    network=os.path.basename(name).removesuffix(".json"),
                    parameters=count_parameters(networks[name]),
                    macs=scalenet_tf.count_macs(networks[name]),
                    runtime=runtime,
                    batch_size=batch_size,
                    milliseconds=1e3 * statistics.median(seconds),
                    low=1e3 * low,
                    high=1e3 * high,
                    ratio=statistics.median(a / b for a, b in pairs),
                    first_seconds=alone[name][0],
                    peak_mebibytes=alone[name][1],
                )
            )
    return rows


def _print_header(config: ModelsConfig) -> None:
    listed = ", ".join(f"{name} {version}" for name, version in versions().items())
    precision = "" if config.mixed_precision == "off" else f", {config.mixed_precision}"
    print(
        f"{config.work}{precision}, XLA {'on' if config.jit else 'off'}; "
        f"{os.cpu_count()} cores ({platform.machine()}), {config.rounds} rounds; "
        f"{listed}"
    )
