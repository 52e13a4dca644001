"""What a run leaves on disk; files are replaced whole, never written in place."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import keras

from scalenet_training.errors import UsageError
from scalenet_training.runs.files import (
    TEMPORARY,
    check_writable,
    disk_errors,
    remove_leftovers,
    replaced,
)
from scalenet_training.runs.metrics import (
    METRICS_FILE,
    best_row,
    read_rows,
    write_rows,
)
from scalenet_training.train.config import TrainConfig

CONFIG_FILE = "config.json"
CURVES_FILE = "curves.png"

# What config.json says of a run beyond its settings and must hold when it resumes.
FACTS_OF_A_RUN = (
    "architecture",
    "class_names",
    "image_size",
    "eval_resize",
    "eval_split",
    "training_examples",
    "evaluation_examples",
    "shards",
)


class RunFolder:
    """The folder of one run.

    `config.json` (settings, versions, classes), `metrics.csv` (a row an epoch),
    `curves.png`, `best.keras`, `last.keras`, `checkpoints/`, `tensorboard/`.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = os.fspath(path)

    def file(self, name: str) -> str:
        """Path of a file of the run."""
        return os.path.join(self.path, name)

    def check(self, config: TrainConfig) -> None:
        """Checks that a run of these settings may use the folder; writes nothing.

        Raises:
            UsageError: It holds another run or other things, or cannot be written.
        """
        check_writable(self.path, "--workdir")
        if not os.path.exists(self.path):
            return
        if not os.path.exists(self.file(CONFIG_FILE)):
            # A chief that has just begun may be writing its config.json.
            if any(not n.startswith(TEMPORARY) for n in os.listdir(self.path)):
                raise UsageError(
                    "--workdir must be new, empty, or the folder of a run. Received: "
                    f"{self.path!r}, which holds other files."
                )
            return
        differences = config.differences(self.read_config()["config"])
        if differences:
            listed = ", ".join(
                f"{name} ({before!r} there, {now!r} now)"
                for name, (before, now) in differences.items()
            )
            raise UsageError(
                f"--workdir {self.path!r} holds a run with other settings: {listed}. "
                "Give another --workdir, or the run's own settings to resume it."
            )

    def check_facts(self, facts: Mapping[str, Any]) -> None:
        """Checks that the run in the folder was on the same network and data.

        Raises:
            UsageError: It was not; the message names what differs.
        """
        if not os.path.exists(self.file(CONFIG_FILE)):
            return
        recorded = self.read_config()
        differences = [
            name
            for name in FACTS_OF_A_RUN
            if name in recorded and recorded[name] != facts[name]
        ]
        if differences:
            raise UsageError(
                f"--workdir {self.path!r} holds a run that differs in "
                f"{', '.join(differences)}: the architecture's file, the data, or the "
                "workers that share it by --sharding file have changed since. Give "
                "another --workdir."
            )

    def read_config(self) -> dict[str, Any]:
        """The content of config.json.

        Raises:
            UsageError: There is none that can be read.
        """
        try:
            with open(self.file(CONFIG_FILE), encoding="utf-8") as file:
                content = json.load(file)
            content["config"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{self.file(CONFIG_FILE)!r} is no run's config.json: {error}."
            ) from error
        return content

    def write_config(self, content: Mapping[str, Any]) -> None:
        """Makes the folder and writes config.json."""
        with disk_errors(self.path):
            os.makedirs(self.path, exist_ok=True)
            with replaced(self.file(CONFIG_FILE)) as path, _text(path) as file:
                json.dump(content, file, indent=1)
                file.write("\n")

    def remove_leftovers(self) -> None:
        """Removes what a killed process had begun to write."""
        remove_leftovers(self.path)

    def rows(self) -> list[dict[str, float]]:
        """The rows of metrics.csv, with numbers for values."""
        return read_rows(self.file(METRICS_FILE))

    def best_row(self) -> Mapping[str, float]:
        """The row of metrics.csv of the epoch that `best.keras` is of."""
        return best_row(self.rows())

    def write_row(self, row: Mapping[str, float]) -> None:
        """Adds an epoch's row in the place of that epoch's and all later ones."""
        rows = [old for old in self.rows() if old["epoch"] < row["epoch"]]
        with (
            disk_errors(self.path),
            replaced(self.file(METRICS_FILE)) as path,
            _text(path) as file,
        ):
            write_rows(file, [*rows, row])

    def save_model(self, model: keras.Model, name: str) -> None:
        """Saves a model as `<name>.keras`."""
        with disk_errors(self.path), replaced(self.file(f"{name}.keras")) as path:
            model.save(path)


def _text(path: str):
    return open(path, "w", newline="", encoding="utf-8")
