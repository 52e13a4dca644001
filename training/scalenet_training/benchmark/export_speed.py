"""Size and latency of every exported format, beside the Keras model's."""

from __future__ import annotations

import dataclasses
import functools
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from scalenet_tf.export import (
    FORMATS,
    Exportable,
    ExportError,
    ExportFormat,
    open_exported,
)
from scalenet_tf.extras import MissingPackageError
from scalenet_tf.preprocessing import EvaluationTransform, preprocess_input
from scalenet_training.bars import Bar
from scalenet_training.benchmark.config import ExportSpeedConfig
from scalenet_training.benchmark.tables import print_rows
from scalenet_training.devices.timing import interleaved
from scalenet_training.errors import usage_errors
from scalenet_training.networks.saved_network import find_network
from scalenet_training.runs.files import write_rows

_COLUMNS = {
    "format": ("format", "<24"),
    "megabytes": ("MB", ">9.2f"),
    "batch_size": ("batch", ">7"),
    "milliseconds": ("ms", ">10.2f"),
    "ratio": ("ratio to Keras", ">16.2f"),
}
_KERAS = "Keras predict"
_CALIBRATION_IMAGES = 8  # noise: the speed does not depend on the ranges


@dataclasses.dataclass(frozen=True)
class FormatSpeed:
    """A format at a batch size.

    Attributes:
        format: Its name.
        megabytes: Size on disk, 10**6 bytes.
        batch_size: Images of a batch.
        milliseconds: Median time of a batch.
        ratio: Median over the rounds of its time over Keras'.
    """

    format: str
    megabytes: float
    batch_size: int
    milliseconds: float
    ratio: float


def measure_export(
    config: ExportSpeedConfig, formats: Sequence[ExportFormat] = FORMATS
) -> list[FormatSpeed]:
    """Measures, prints a table, and writes it where that was asked for.

    Args:
        config: What to measure, how often.
        formats: The formats that are known; those whose packages are not installed are
            left out.

    Raises:
        UsageError: The network does not fit.
        RunError: The table cannot be written.
    """
    with usage_errors():
        network = find_network(config.run_or_model, config.saved)
        model = network.load()
        size = network.image_size(model, config.image_size)
    with tempfile.TemporaryDirectory() as folder:
        with usage_errors(ExportError, MissingPackageError):
            paths = _export_all(model, size, folder, formats)
        runs = {
            _KERAS: model.predict_on_batch,
            **{n: open_exported(p, formats=formats).run for n, p in paths.items()},
        }
        rows = _rows(config, runs, {_KERAS: network.path, **paths}, size)
    print_rows(rows, _COLUMNS)
    if config.output is not None:
        write_rows(config.output, [dataclasses.asdict(row) for row in rows])
    return rows


def _export_all(
    model: keras.Model, size: int, folder: str, formats: Sequence[ExportFormat]
) -> dict[str, str]:
    """Title of a variant of a format -> what was written."""
    names = [str(index) for index in range(model.output_shape[-1])]
    content = Exportable(model, EvaluationTransform(size, size), names)
    shape = (_CALIBRATION_IMAGES, size, size, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape)
    calibrated = dataclasses.replace(content, calibration=[preprocess_input(pixels)])
    variants = [
        (entry, title, entry.options(given))
        for entry in formats
        if entry.installed
        for title, given in entry.variants.items()
    ]
    paths = {}
    for number, (entry, title, options) in enumerate(
        Bar(variants, desc="exporting", unit="format")
    ):
        paths[title] = entry.write(
            calibrated if options.needs_calibration else content,
            os.path.join(folder, str(number)),
            "network",
            options,
        )
    return paths


def _rows(
    config: ExportSpeedConfig,
    runs: Mapping[str, Callable[[np.ndarray], Any]],
    paths: Mapping[str, str],
    size: int,
) -> list[FormatSpeed]:
    rows = []
    for batch_size in config.batch_sizes:
        noise = _noise(batch_size, size)
        bound = {name: functools.partial(run, noise) for name, run in runs.items()}
        title = f"batches of {batch_size}"
        times = interleaved(bound, config.rounds, title, settled=True)
        for name, seconds in times.items():
            pairs = zip(seconds, times[_KERAS], strict=True)
            rows.append(
                FormatSpeed(
                    format=name,
                    megabytes=_bytes(paths[name]) / 1e6,
                    batch_size=batch_size,
                    milliseconds=1000 * statistics.median(seconds),
                    ratio=statistics.median(own / keras_ for own, keras_ in pairs),
                )
            )
    return rows


def _noise(count: int, size: int) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal((count, size, size, 3))
    return noise.astype(np.float32)


def _bytes(path: str) -> int:
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(
        os.path.getsize(os.path.join(place, name))
        for place, _, names in os.walk(path)
        for name in names
    )
