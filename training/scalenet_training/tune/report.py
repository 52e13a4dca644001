"""What a search found: the ranked table, the figure, the networks to train."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from keras_tuner.engine.trial import Trial

from scalenet_tf import Architecture
from scalenet_tf.architectures import published_architectures
from scalenet_training.bars import Bar
from scalenet_training.errors import RunError
from scalenet_training.invocation import typed_as
from scalenet_training.networks.allocation_file import write_allocation
from scalenet_training.recipes.presets import options_of
from scalenet_training.runs.figures import plot_error_against_macs
from scalenet_training.runs.files import replacing, write_rows
from scalenet_training.runs.versions import versions
from scalenet_training.tune.folder import SearchFolder
from scalenet_training.tune.processes import Call
from scalenet_training.tune.search import Search
from scalenet_training.tune.trials import measure_network

TRIALS_FILE = "trials.csv"
FIGURE_FILE = "tuning.png"


@dataclasses.dataclass(frozen=True)
class Row:
    """One trial.

    Attributes:
        search: The search that it is part of.
        architecture: Its network.
        settings: Learning rate, weight decay, label smoothing.
        facts: Columns of trials.csv, from `budget` to `latency_ms`; the error is the
            lowest of the trial's epochs, "" where it failed.
    """

    search: Search
    architecture: Architecture
    settings: Mapping[str, float]
    facts: Mapping[str, Any]

    @property
    def failed(self) -> bool:
        """Whether it has no error."""
        return self.facts["validation_error"] == ""


def read_rows(searches: Sequence[Search], call: Call) -> list[Row]:
    """All trials, by target, the best first; measures every network's latency.

    Args:
        searches: One for each target.
        call: Calls a function in another process.
    """
    trials = [(search, t) for search in searches for t in search.trials()]
    shown = Bar(trials, unit="network", desc="latency")
    return [_row(search, trial, call) for search, trial in shown]


def write_report(rows: Sequence[Row], folder: SearchFolder) -> None:
    """Writes table, figure and a network for each target; prints how to go on.

    Raises:
        RunError: All trials of a target failed, or a file cannot be written.
    """
    best = list({row.search.project: row for row in reversed(rows)}.values())[::-1]
    for row in best:
        if row.failed:
            raise RunError(f"all trials of {row.search.project} failed.")
        provenance = _provenance(row, rows)
        write_allocation(_allocation(row, folder), row.architecture, provenance)
    _write_table(rows, folder.file(TRIALS_FILE))
    with replacing(folder.file(FIGURE_FILE)) as path:
        plot_error_against_macs(_points(rows), _marks(rows[0].search), path)
    _print_table(rows, best)
    print(f"* the best of its budget; {folder.file(TRIALS_FILE)} has every trial's")
    print(f"neurons, {folder.file(FIGURE_FILE)} the errors against MACs")
    print("To train the best:")
    for row in best:
        print(_training_command(row, folder))


def _row(search: Search, trial: Trial, call: Call) -> Row:
    hypermodel, hp = search.hypermodel, trial.hyperparameters
    architecture = hypermodel.architecture(hp)
    macs = architecture.macs(hypermodel.classes)
    parameters, latency = call(
        measure_network, architecture, search.image_size, hypermodel.classes
    )
    facts = {
        "budget": search.project,
        "trial": trial.trial_id,
        "status": trial.status,
        "validation_error": "" if trial.score is None else 1 - float(trial.score),
        "epochs": hp.values.get("tuner/epochs", search.config.epochs),
        "parameters": parameters,
        "macs": macs,
        "target_macs": hypermodel.target_macs,
        "gap": 1 - macs / hypermodel.target_macs,
        "latency_ms": latency,
    }
    return Row(search, architecture, hypermodel.training_settings(hp), facts)


def _provenance(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    config, hypermodel = row.search.config, row.search.hypermodel
    return {
        "command": sys.argv,
        "dataset": config.dataset,
        "base": hypermodel.base.name,
        "classes": hypermodel.classes,
        "tuner": config.tuner,
        "trials": sum(other.search is row.search for other in rows),
        **row.facts,
        **row.settings,
        "versions": versions(),
    }


def _allocation(row: Row, folder: SearchFolder) -> str:
    """Path of the file of a target's best network."""
    several = len(row.search.config.targets) > 1
    return folder.file(
        f"allocation-{row.search.project}.json" if several else "allocation.json"
    )


def _training_command(row: Row, folder: SearchFolder) -> str:
    """The command that trains a network as its trial was, for longer."""
    config = row.search.config.longer(_allocation(row, folder), row.settings)
    return shlex.join(typed_as("train", options_of(config)))


def _write_table(rows: Sequence[Row], path: str) -> None:
    table = [
        {
            **row.facts,
            **row.settings,
            "blocks_per_stage": " ".join(map(str, row.architecture.blocks_per_stage)),
            "allocation": " ".join(
                "-".join(map(str, block)) for block in row.architecture.allocation
            ),
        }
        for row in rows
    ]
    write_rows(path, table)


def _print_table(rows: Sequence[Row], best: Sequence[Row]) -> None:
    head = ("budget", "trial", "val error", "epochs", "parameters", "MACs", "gap", "ms")
    print("{:>8} {:>6} {:>9} {:>7} {:>12} {:>15} {:>6} {:>8}".format(*head))
    layout = (
        "{budget:>8} {trial:>6} {error:>9} {epochs:>7} {parameters:>12,} {macs:>15,} "
        "{gap:>6.2%} {latency_ms:>8.2f}{mark}"
    )
    for row in rows:
        error = "failed" if row.failed else f"{row.facts['validation_error']:.2%}"
        mark = " *" if row in best else ""
        print(layout.format(**row.facts, error=error, mark=mark))


def _points(rows: Sequence[Row]) -> dict[str, list[tuple[int, float]]]:
    points: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if not row.failed:
            point = row.facts["macs"], row.facts["validation_error"]
            points.setdefault(row.search.project, []).append(point)
    return points


def _marks(search: Search) -> dict[str, int]:
    """MACs of the base, its twin, and the published networks of its kind."""
    base = search.hypermodel.base
    networks = [base, base.twin(), *published_architectures().values()]
    classes = search.hypermodel.classes
    return {n.name: n.macs(classes) for n in networks if n.stem == base.stem}
