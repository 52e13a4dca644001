"""What is done with the network of a trial, in another process."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

import scalenet_tf
from scalenet_tf import Architecture
from scalenet_tf.profiling import count_parameters
from scalenet_training.devices.cluster import VARIABLES
from scalenet_training.devices.latency import measure_latency
from scalenet_training.errors import RunError
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.loop import train_and_evaluate


def train_trial(
    config: TrainConfig, index_folder: str, log: str | None
) -> list[dict[str, float]]:
    """Trains a trial, or goes on with its run; returns the rows of metrics.csv.

    Args:
        config: The run's settings.
        index_folder: Folder with the index of the images.
        log: File that gets what the training prints; `None`: it is shown.
    """
    # Chief and workers may be a cluster, but each of them trains its trials alone.
    for name in VARIABLES:
        os.environ.pop(name, None)
    folder = RunFolder(config.run_folder)
    if _starts_anew(folder, config):
        shutil.rmtree(folder.path, ignore_errors=True)
    with contextlib.nullcontext() if log is None else _logged(log):
        train_and_evaluate(config, folder.path, index_folder=index_folder)
    return folder.rows()


def _starts_anew(folder: RunFolder, config: TrainConfig) -> bool:
    """Whether what is there is of version 0.1.0, or of a search that was moved.

    Paths are settings of a run. Any other difference is an error, and nothing is lost.
    """
    if not folder.has_record:
        return True
    differences = config.differences(folder.read_record().config)
    return bool(differences) and differences.keys() <= {"model", "dataset"}


@contextlib.contextmanager
def _logged(path: str) -> Iterator[None]:
    """Adds what is printed to a file."""
    try:
        with (
            open(path, "a", encoding="utf-8") as file,
            contextlib.redirect_stdout(file),
        ):
            yield
    except OSError as error:  # those of other files are RunErrors by now
        raise RunError(f"cannot write to {path!r}: {error.strerror}.") from error


def measure_network(
    architecture: Architecture, size: int, classes: int
) -> tuple[int, float]:
    """Trainable parameters, and the latency of one image in ms."""
    model = scalenet_tf.ScaleNet(
        architecture, input_shape=(size, size, 3), classes=classes
    )
    return count_parameters(model), measure_latency(model, size)
