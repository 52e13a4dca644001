"""What the checks of a request cost: SavedModels with them beside those without."""

from __future__ import annotations

import dataclasses
import functools
import os
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from scalenet_tf.export import Exportable
from scalenet_tf.export.classifier import Classifier
from scalenet_tf.export.requests import requests
from scalenet_tf.export.savedmodel import Options, load
from scalenet_tf.export.savedmodel.signatures import Service
from scalenet_tf.preprocessing import EvaluationTransform
from scalenet_training.benchmark.config import ChecksConfig, ModelsConfig
from scalenet_training.benchmark.models import build
from scalenet_training.benchmark.tables import print_rows
from scalenet_training.devices.timing import shuffled
from scalenet_training.errors import usage_errors
from scalenet_training.runs.files import write_rows

_CHECKED, _UNCHECKED, _COPY = "checked", "unchecked", "copy"
_COLUMNS = {
    "signature": ("signature", "<18"),
    "percentile": ("percentile", ">11"),
    "milliseconds": ("ms", ">9.3f"),
    "cost": ("checks", ">+9.2%"),
    "noise": ("a copy", ">+9.2%"),
}
_PERCENTILES = (10, 25, 50)


@dataclasses.dataclass(frozen=True)
class CheckCost:
    """A signature at a percentile of its times.

    Attributes:
        signature: Its name.
        percentile: Of the times of one image.
        milliseconds: Without checks.
        cost: What the checks add, as a part of that.
        noise: What a copy of the SavedModel without checks seems to add.
    """

    signature: str
    percentile: int
    milliseconds: float
    cost: float
    noise: float


def measure_checks(config: ChecksConfig) -> list[CheckCost]:
    """Measures, prints a table, and writes it where that was asked for.

    Raises:
        UsageError: There is no such network.
        RunError: The table cannot be written.
    """
    tf.config.threading.set_intra_op_parallelism_threads(config.threads)
    tf.config.threading.set_inter_op_parallelism_threads(config.threads)
    with usage_errors():
        model = build(config.network, ModelsConfig(classes=10))
    size = model.input_shape[1]
    names = [str(index) for index in range(model.output_shape[-1])]
    content = Exportable(model, EvaluationTransform(size, size), names)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: os.path.join(folder, name) for name in (_CHECKED, _UNCHECKED)}
        for name, path in paths.items():
            _save(content, path, name == _CHECKED, config.constants)
        paths[_COPY] = paths[_UNCHECKED]
        loaded = {n: load(p, config.threads) for n, p in paths.items()}
        images = requests([_image(size)], content.transform)
        rows = [
            row
            for signature, request in images.items()
            for row in _costs(
                signature,
                shuffled(
                    {
                        name: functools.partial(functions[signature], request.values)
                        for name, functions in loaded.items()
                    },
                    config.calls,
                    signature,
                ),
            )
        ]
    print_rows(rows, _COLUMNS)
    if config.output is not None:
        write_rows(config.output, [dataclasses.asdict(row) for row in rows])
        print(f"written: {config.output}")
    return rows


def _save(content: Exportable, path: str, checked: bool, constants: bool) -> None:
    network = Classifier(content.model, Options.fold, freeze=constants)
    service = Service(
        network, content, Options.top_k, Options.on_corrupt, checked=checked
    )
    tf.saved_model.save(network, path, signatures=service.signatures())


def _image(size: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    return tf.io.encode_png(pixels).numpy()


def _costs(signature: str, seconds: Mapping[str, Sequence[float]]) -> list[CheckCost]:
    rows = []
    for percentile in _PERCENTILES:
        times = {name: np.percentile(own, percentile) for name, own in seconds.items()}
        plain = times[_UNCHECKED]
        rows.append(
            CheckCost(
                signature=signature,
                percentile=percentile,
                milliseconds=1e3 * plain,
                cost=times[_CHECKED] / plain - 1,
                noise=times[_COPY] / plain - 1,
            )
        )
    return rows
