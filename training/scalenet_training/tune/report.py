"""What a search found: the ranked table, the figure, the networks to train."""

from __future__ import annotations

import csv
import dataclasses
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
from tqdm import tqdm

import scalenet_tf
from scalenet_tf import Architecture
from scalenet_tf.architectures import published_architectures
from scalenet_training.devices.latency import measure_latency
from scalenet_training.errors import RunError
from scalenet_training.invocation import typed_as
from scalenet_training.networks.allocation_file import write_allocation
from scalenet_training.runs.figures import plot_error_against_macs
from scalenet_training.runs.files import disk_errors, replaced
from scalenet_training.runs.versions import versions
from scalenet_training.tune.folder import SearchFolder
from scalenet_training.tune.search import Search

TRIALS_FILE = "trials.csv"
FIGURE_FILE = "tuning.png"


@dataclasses.dataclass(frozen=True)
class Row:
    """One trial.

    Attributes:
        search: Of which target.
        trial: KerasTuner's number.
        status: `"COMPLETED"` or `"FAILED"`.
        error: Lowest top-1 validation error of its epochs; `None` where it failed.
        epochs: To which it was trained; hyperband's begin where another one ended.
        architecture: Its network.
        settings: Learning rate, weight decay, label smoothing.
        parameters: Trainable ones.
        macs: Of an image of the native size.
        latency: Of one image, in ms.
    """

    search: Search
    trial: str
    status: str
    error: float | None
    epochs: int
    architecture: Architecture
    settings: Mapping[str, float]
    parameters: int
    macs: int
    latency: float

    @property
    def gap(self) -> float:
        """What is left of the target, as a fraction of it."""
        return 1 - self.macs / self.search.hypermodel.target_macs


def read_rows(searches: Sequence[Search], folder: SearchFolder) -> list[Row]:
    """All trials, by target, the best first; measures every network's latency."""
    trials = [(search, t) for search in searches for t in search.trials(folder)]
    return [_row(*pair) for pair in tqdm(trials, unit="network", desc="latency")]


def write_report(rows: Sequence[Row], folder: SearchFolder) -> list[Row]:
    """Writes table, figure and a network a target; prints the table.

    Returns:
        The best trial of each target.

    Raises:
        RunError: No trial of a target ended well, or a file cannot be written.
    """
    best = list(_best(rows))
    for row in best:
        hypermodel = row.search.hypermodel
        write_allocation(
            folder.file(allocation_name(row)),
            row.architecture,
            {
                "command": sys.argv,
                "dataset": row.search.config.dataset,
                "base": hypermodel.base.name,
                "budget": row.search.project,
                "target_macs": hypermodel.target_macs,
                "macs": row.macs,
                "gap": row.gap,
                "classes": hypermodel.classes,
                "tuner": row.search.config.tuner,
                "trials": sum(other.search is row.search for other in rows),
                "trial": row.trial,
                "validation_error": row.error,
                "epochs": row.epochs,
                **row.settings,
                "versions": versions(),
            },
        )
    _write_table(rows, folder.file(TRIALS_FILE))
    with (
        disk_errors(folder.path),
        replaced(folder.file(FIGURE_FILE)) as path,
    ):
        plot_error_against_macs(_points(rows), _marks(rows), path)
    _print_table(rows, best)
    return best


def allocation_name(row: Row) -> str:
    """Name of the file of a target's best network."""
    several = len(row.search.config.targets) > 1
    return f"allocation-{row.search.project}.json" if several else "allocation.json"


def training_command(row: Row, folder: SearchFolder) -> str:
    """The command that trains a network as its trial was, for longer."""
    options = ["--model", folder.file(allocation_name(row))]
    options += row.search.config.data_options()
    for name, value in row.settings.items():
        options += [f"--{name.replace('_', '-')}", f"{value:.4g}"]
    return shlex.join(typed_as("train", options))


def _row(search: Search, trial: Any) -> Row:
    hypermodel, hp = search.hypermodel, trial.hyperparameters
    architecture = hypermodel.architecture(hp)
    size = hypermodel.examples.transform.image_size
    keras.backend.clear_session()
    model = scalenet_tf.ScaleNet(
        architecture, input_shape=(size, size, 3), classes=hypermodel.classes
    )
    return Row(
        search=search,
        trial=trial.trial_id,
        status=trial.status,
        error=None if trial.score is None else 1 - float(trial.score),
        epochs=hp.values.get("tuner/epochs", search.config.epochs),
        architecture=architecture,
        settings=hypermodel.training_settings(hp),
        parameters=sum(w.value.shape.num_elements() for w in model.trainable_weights),
        macs=architecture.macs(hypermodel.classes),
        latency=measure_latency(model, size),
    )


def _best(rows: Sequence[Row]) -> Iterator[Row]:
    for search in dict.fromkeys(row.search.project for row in rows):
        ended = [row for row in rows if row.search.project == search]
        if ended[0].error is None:
            raise RunError(
                f"no trial of {search} ended well; see its trial.json files."
            )
        yield ended[0]


def _write_table(rows: Sequence[Row], path: str) -> None:
    with (
        disk_errors(path),
        replaced(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        table = [_columns(row) for row in rows]
        writer = csv.DictWriter(file, fieldnames=list(table[0]))
        writer.writeheader()
        writer.writerows(table)


def _columns(row: Row) -> dict[str, Any]:
    return {
        "budget": row.search.project,
        "trial": row.trial,
        "status": row.status,
        "validation_error": "" if row.error is None else row.error,
        "epochs": row.epochs,
        "parameters": row.parameters,
        "macs": row.macs,
        "target_macs": row.search.hypermodel.target_macs,
        "gap": row.gap,
        "latency_ms": row.latency,
        **row.settings,
        "blocks_per_stage": " ".join(map(str, row.architecture.blocks_per_stage)),
        "allocation": " ".join(
            "-".join(map(str, block)) for block in row.architecture.allocation
        ),
    }


def _print_table(rows: Sequence[Row], best: Sequence[Row]) -> None:
    layout = "{:>8} {:>6} {:>9} {:>7} {:>12} {:>15} {:>6} {:>10}"
    head = ("budget", "trial", "val error", "epochs", "parameters", "MACs", "gap", "ms")
    print(layout.format(*head))
    for row in rows:
        error = "failed" if row.error is None else f"{row.error:.2%}"
        print(
            layout.format(
                row.search.project,
                row.trial,
                error,
                row.epochs,
                f"{row.parameters:,}",
                f"{row.macs:,}",
                f"{row.gap:.2%}",
                f"{row.latency:.2f}" + ("" if row not in best else " *"),
            )
        )


def _points(rows: Sequence[Row]) -> dict[str, list[tuple[int, float]]]:
    points: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row.error is not None:
            points.setdefault(row.search.project, []).append((row.macs, row.error))
    return points


def _marks(rows: Sequence[Row]) -> dict[str, int]:
    """MACs of the base, its twin, and the published networks of its kind."""
    hypermodel = rows[0].search.hypermodel
    base = hypermodel.base
    networks = [base, base.twin()] + [
        network
        for network in published_architectures().values()
        if network.stem == base.stem
    ]
    return {network.name: network.macs(hypermodel.classes) for network in networks}
