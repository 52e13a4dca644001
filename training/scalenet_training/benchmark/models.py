"""Networks beside each other: time, memory, and what they cost by their layers."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
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
from scalenet_training.benchmark.peers import PEERS, with_keras_norm
from scalenet_training.benchmark.pytorch.peer import (
    Peer,
    check_pytorch,
    description,
    running,
)
from scalenet_training.devices.memory import peak_mebibytes
from scalenet_training.devices.processor import onednn_state, processor_name
from scalenet_training.devices.timing import interleaved
from scalenet_training.errors import RunError, usage_errors
from scalenet_training.invocation import process_of
from scalenet_training.networks.random_statistics import draw_statistics
from scalenet_training.networks.starting_point import resolve_architecture
from scalenet_training.runs.files import disk_errors, replacing, write_rows
from scalenet_training.runs.versions import versions
from scalenet_training.train.step import Learner, Objective, make_train_step

_GRAPH, _KERAS_NORM, _PYTORCH = "tensorflow", "keras-norm", "pytorch"
_SIZE = 224  # of the peers
# In the environment of a process that measures one network, once.
_ALONE = "SCALENET_BENCHMARK_ALONE"

Run = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class _Measured:
    """What is timed, and what its network costs in a process of its own."""

    run: Run
    first_seconds: float
    peak_mebibytes: float


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
    if config.pytorch:
        check_pytorch()
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
            with contextlib.ExitStack() as stack:
                runs = _runs(config, networks, exported, batch_size, stack)
                rows += _rows(networks, runs, config.rounds, batch_size)
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


def _of_keras_norm(model: keras.Model) -> keras.Model:
    other = with_keras_norm(model)
    draw_statistics(other)
    return other


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


def _alone(
    config: ModelsConfig, name: str, batch_size: int, *more: str
) -> tuple[float, float]:
    """Seconds until the first call is done and MiB at most, in a new process."""
    options = [
        *("models", name, "--work", config.work, "--batch-sizes", str(batch_size)),
        *("--classes", str(config.classes), "--mixed-precision"),
        *(config.mixed_precision, "--jit" if config.jit else "--no-jit"),
        *more,
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
    model = build(config.networks[0], config)
    if config.keras_norm:
        model = _of_keras_norm(model)
    make_run(model, config, config.batch_sizes[0])()
    seconds = time.perf_counter() - began
    print(f"\n{seconds:.2f} {peak_mebibytes():.0f}")


def _runs(
    config: ModelsConfig,
    networks: Mapping[str, keras.Model],
    exported: Mapping[tuple[str, str], Any],
    batch_size: int,
    stack: contextlib.ExitStack,
) -> dict[tuple[str, str], _Measured]:
    """What is timed, by runtime and network; processes end with the stack."""
    runs = {}
    for name, model in networks.items():
        cost = _alone(config, name, batch_size)
        runs[_GRAPH, name] = _Measured(make_run(model, config, batch_size), *cost)
    own = [name for name in networks if name not in PEERS]
    for name in own if config.keras_norm else ():
        run = make_run(_of_keras_norm(networks[name]), config, batch_size)
        cost = _alone(config, name, batch_size, "--keras-norm")
        runs[_KERAS_NORM, name] = _Measured(run, *cost)
    for name in own if config.pytorch else ():
        peer = stack.enter_context(running(_peer(config, name, batch_size), name))
        peer.run()
        cost = (peer.first_seconds, peer.peak_mebibytes)
        runs[_PYTORCH, name] = _Measured(peer.run, *cost)
    for (runtime, name), model in exported.items():
        graph, images = runs[_GRAPH, name], _images(networks[name], batch_size)
        runs[runtime, name] = dataclasses.replace(graph, run=_bound(model.run, images))
    return runs


def _peer(config: ModelsConfig, name: str, batch_size: int) -> Peer:
    architecture = resolve_architecture(name, "`networks`")
    return Peer(
        network=description(architecture),
        classes=config.classes,
        image_size=config.image_size or architecture.native_size,
        batch_size=batch_size,
        work=config.work,
        mixed_precision=config.mixed_precision,
    )


def _rows(
    networks: Mapping[str, keras.Model],
    runs: Mapping[tuple[str, str], _Measured],
    rounds: int,
    batch_size: int,
) -> list[ModelSpeed]:
    """Times in turns: what TensorFlow runs with PyTorch, each other format alone.

    Threads of other runtimes, which spin for a while after a run, stay out so.
    """
    rows = []
    runtimes = dict.fromkeys(runtime for runtime, _ in runs)
    together = {_GRAPH, _KERAS_NORM, _PYTORCH, "savedmodel"}
    turns = [together, *({name} for name in runtimes if name not in together)]
    for turn in turns:
        own = {key: measured for key, measured in runs.items() if key[0] in turn}
        title = f"{', '.join(sorted(turn & runtimes.keys()))}, batches of {batch_size}"
        calls = {key: measured.run for key, measured in own.items()}
        times = interleaved(calls, rounds, title)
        rows += [
            _row(key, networks[key[1]], measured, times, batch_size)
            for key, measured in own.items()
        ]
    return rows


def _row(
    key: tuple[str, str],
    model: keras.Model,
    measured: _Measured,
    times: Mapping[tuple[str, str], list[float]],
    batch_size: int,
) -> ModelSpeed:
    (runtime, name), seconds = key, times[key]
    first = next(other for other in times if other[0] == runtime)
    low, high = np.quantile(seconds, (0.1, 0.9))
    graph = times.get((_GRAPH, name))
    return ModelSpeed(
        network=os.path.basename(name).removesuffix(".json"),
        parameters=count_parameters(model),
        macs=scalenet_tf.count_macs(model),
        runtime=runtime,
        batch_size=batch_size,
        milliseconds=1e3 * statistics.median(seconds),
        low=1e3 * low,
        high=1e3 * high,
        ratio=_median_ratio(seconds, times[first]),
        to_tensorflow=None if graph is None else _median_ratio(seconds, graph),
        first_seconds=measured.first_seconds,
        peak_mebibytes=measured.peak_mebibytes,
    )


def _median_ratio(seconds: Sequence[float], others: Sequence[float]) -> float:
    """Of pairs of the same round."""
    return statistics.median(a / b for a, b in zip(seconds, others, strict=True))


def _print_header(config: ModelsConfig) -> None:
    listed = ", ".join(f"{name} {version}" for name, version in versions().items())
    precision = "" if config.mixed_precision == "off" else f", {config.mixed_precision}"
    print(
        f"{config.work}{precision}, XLA {'on' if config.jit else 'off'}; "
        f"{os.cpu_count()} cores ({processor_name()}), oneDNN: "
        f"{onednn_state(os.environ)}; {config.rounds} rounds; {listed}"
    )
