"""What a run leaves on disk; files are replaced whole, never written in place."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from scalenet_training.config import TrainConfig
from scalenet_training.errors import RunError, UsageError
from scalenet_training.run_metrics import METRICS_FILE, read_rows, write_rows

CONFIG_FILE = "config.json"
CURVES_FILE = "curves.png"


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
        if not os.path.exists(self.path):
            _check_writable(self.path)
            return
        if not os.path.isdir(self.path):
            raise UsageError(f"--workdir must be a folder. Received: {self.path!r}.")
        if not os.path.exists(self.file(CONFIG_FILE)):
            if os.listdir(self.path):
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

    def rows(self) -> list[dict[str, float]]:
        """The rows of metrics.csv, with numbers for values."""
        return read_rows(self.file(METRICS_FILE))

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


@contextlib.contextmanager
def replaced(path: str) -> Iterator[str]:
    """Gives a temporary path; what was written there replaces `path` in one step."""
    folder, name = os.path.split(path)
    with tempfile.TemporaryDirectory(
        prefix=".writing-", dir=folder or "."
    ) as temporary:
        target = os.path.join(temporary, name)
        yield target
        os.replace(target, path)


@contextlib.contextmanager
def disk_errors(path: str) -> Iterator[None]:
    """Turns failures to write into a RunError that names the folder."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write to {path!r}: {error.strerror or error}. What was saved "
            "before is intact; the same command resumes."
        ) from error


def _check_writable(path: str) -> None:
    parent = os.path.abspath(path)
    while not os.path.exists(parent):
        parent = os.path.dirname(parent)
    if not os.path.isdir(parent) or not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"--workdir {path!r} cannot be made: {parent!r} is not a folder that can "
            "be written to."
        )


def _text(path: str):
    return open(path, "w", newline="", encoding="utf-8")
