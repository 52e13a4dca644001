"""What a run leaves on disk; files are replaced whole, never written in place.

Imports no TensorFlow.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scalenet_tf.files import read_json, unreadable
from scalenet_training.data.files.folder import is_folder
from scalenet_training.data.files.manifest import is_manifest
from scalenet_training.errors import UsageError, usage_errors
from scalenet_training.runs.files import (
    check_own_folder,
    disk_errors,
    remove_leftovers,
    replacing,
    write_json,
    write_rows,
    written,
)
from scalenet_training.runs.metrics import METRICS_FILE, Curve, read_rows
from scalenet_training.runs.record import CONFIG_FILE, RunRecord
from scalenet_training.settings.training import TrainConfig
from scalenet_training.text import differing

if TYPE_CHECKING:
    import keras

CURVES_FILE = "curves.png"
DIVERGED_FILE = "diverged.txt"
TRACKING_FILE = "tracking.json"
CHECKPOINTS, TENSORBOARD = "checkpoints", "tensorboard"  # folders
CHECKPOINT = "ckpt"  # what their names begin with

# Of an epoch whose checkpoint is not known to be there: what its folder's name begins
# with, beside the checkpoints, and what is in it.
_EPOCH, _EPOCH_FILE = "evaluated-", "epoch.json"
_LAST, _BEST = "last.keras", "best.keras"


def _same_kind(record: RunRecord, config: TrainConfig) -> bool:
    """Whether a run was on a folder, or a manifest, as a training is to be."""
    kind = None if record.data is None else record.data.get("kind")
    is_listed = is_manifest(config.dataset)
    is_one = is_listed or is_folder(config.dataset, config.data_dir)
    return is_one and kind == ("manifest" if is_listed else "folder")


def checkpoint_numbers(folder: str) -> list[int]:
    """Numbers of the checkpoints in a folder, ascending.

    TensorFlow writes a checkpoint under other names and renames it, the index last:
    what has an index was written whole. Its own list of them is written later.
    """
    names = os.listdir(folder) if os.path.isdir(folder) else []
    matches = (re.fullmatch(rf"{CHECKPOINT}-(\d+)\.index", name) for name in names)
    return sorted(int(match[1]) for match in matches if match)


class RunFolder:
    """The folder of one run.

    `config.json` (the run's record), `metrics.csv` (one row per epoch), `curves.png`,
    `best.keras`, `last.keras`, `checkpoints/`, `tensorboard/`, `diverged.txt` where
    the run has ended so, and `tracking.json` where a tracker is told of it.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = os.fspath(path)

    def file(self, name: str) -> str:
        """Path of a file of the run."""
        return os.path.join(self.path, name)

    @property
    def has_record(self) -> bool:
        """Whether the folder is that of a run that has begun."""
        return os.path.exists(self.file(CONFIG_FILE))

    def checkpoint_numbers(self) -> list[int]:
        """Numbers of the run's checkpoints, ascending."""
        return checkpoint_numbers(self.file(CHECKPOINTS))

    def check(self, config: TrainConfig) -> None:
        """Checks that a run of these settings may use the folder; writes nothing.

        Raises:
            UsageError: It holds another run or other things, or cannot be written.
        """
        if not check_own_folder(self.path, CONFIG_FILE, "run"):
            return
        self.rows()  # which the end of an epoch adds to
        record = self.read_record()
        differences = config.differences(record.config)
        if _same_kind(record, config):  # its files are compared when they are listed
            differences.pop("dataset", None)
        if differences:
            raise UsageError(
                f"`workdir` {self.path!r} holds a run with other settings: "
                f"{differing(differences)}. "
                "Give another `workdir`, or the run's own settings to resume it."
            )

    def check_lasting(self, record: RunRecord) -> None:
        """Checks that the run in the folder was on the same network and data.

        Raises:
            UsageError: It was not; the message names what differs.
        """
        if not self.has_record:
            return
        before = self.read_record().lasting()
        now = record.lasting()
        differences = [name for name in now if before[name] != now[name]]
        if differences:
            raise UsageError(
                f"`workdir` {self.path!r} holds a run that differs in "
                f"{', '.join(differences)}: the architecture's file, the teacher's, "
                "the data, or the workers that share it by `sharding` file have "
                "changed since. Give another `workdir`."
            )

    def read_record(self) -> RunRecord:
        """The content of config.json.

        Raises:
            UsageError: There is none that can be read; the message names the field.
        """
        try:
            return RunRecord.from_json(read_json(self.file(CONFIG_FILE)))
        except (OSError, ValueError) as error:
            reason = str(error).rstrip(".")
            raise UsageError(
                f"{self.file(CONFIG_FILE)!r} is no run's config.json: {reason}."
            ) from error

    def write_record(self, record: RunRecord) -> None:
        """Makes the folder and writes config.json."""
        with disk_errors(self.path):
            os.makedirs(self.path, exist_ok=True)
        write_json(self.file(CONFIG_FILE), record.to_json())
        with contextlib.suppress(FileNotFoundError):  # it goes on
            os.remove(self.file(DIVERGED_FILE))

    def note_divergence(self, reason: str) -> None:
        """Notes that the run has ended with numbers that are not finite."""
        with written(self.file(DIVERGED_FILE)) as file:
            file.write(f"{reason}\n")

    @property
    def has_diverged(self) -> bool:
        """Whether the run has ended so, and has not gone on since."""
        return os.path.exists(self.file(DIVERGED_FILE))

    def remove_leftovers(self) -> None:
        """Removes what a killed process had begun to write, and epochs it has lost."""
        remove_leftovers(self.path)
        lost = os.path.join(glob.escape(self.file(CHECKPOINTS)), f"{_EPOCH}*")
        for path in glob.glob(lost):
            shutil.rmtree(path, ignore_errors=True)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.csv, with numbers for values."""
        return read_rows(self.file(METRICS_FILE))

    def curve(self) -> Curve:
        """The rows of metrics.csv, with what decides which epoch is the best."""
        rows = self.rows()
        return self.read_record().curve(rows) if self.has_record else Curve(rows)

    def best_row(self) -> Mapping[str, Any]:
        """The row of metrics.csv of the epoch that `best.keras` is from.

        Raises:
            UsageError: There is none.
        """
        curve = self.curve()
        if not curve.rows:
            raise UsageError(f"{self.file(METRICS_FILE)!r} is missing, or has no row.")
        return curve.best

    def write_row(self, row: Mapping[str, Any]) -> None:
        """Adds the row of an epoch; it replaces that epoch's and all later rows."""
        rows = [old for old in self.rows() if old["epoch"] < row["epoch"]]
        # Rows of an earlier version may lack a column.
        write_rows(self.file(METRICS_FILE), [*rows, row], missing="nan")

    def drop_rows(self, epoch: int) -> None:
        """Removes the rows from an epoch on, which is trained again."""
        rows = self.rows()
        kept = [row for row in rows if row["epoch"] < epoch]
        if len(kept) == len(rows):
            return
        if kept:
            write_rows(self.file(METRICS_FILE), kept, missing="nan")
        else:
            os.remove(self.file(METRICS_FILE))

    def save_epoch(
        self, step: int, model: keras.Model, row: Mapping[str, Any], improved: bool
    ) -> None:
        """Saves the end of an epoch beside its checkpoint, which is written next.

        Until that is there a kill loses the epoch, and what is in the folder must be of
        the epochs before: `take_epoch` puts it in its place.

        Args:
            step: After which the epoch was evaluated.
            model: What was evaluated.
            row: Of metrics.csv.
            improved: Whether it is the best epoch.
        """
        with disk_errors(self.path):
            os.makedirs(self.file(CHECKPOINTS), exist_ok=True)
        with replacing(self._epoch(step)) as path:
            os.mkdir(path)
            model.save(os.path.join(path, _LAST))
            with open(os.path.join(path, _EPOCH_FILE), "w", encoding="utf-8") as file:
                json.dump({"row": row, "improved": improved}, file)

    def take_epoch(self, step: int) -> bool:
        """Puts what `save_epoch` saved in its place, once the checkpoint is there.

        Until `forget_epoch` is called, what goes on with the run does it again.

        Returns:
            Whether there was something.

        Raises:
            UsageError: It is damaged.
        """
        folder = self._epoch(step)
        about = os.path.join(folder, _EPOCH_FILE)
        if not os.path.exists(about):
            return False
        with usage_errors(ValueError), unreadable(f"`workdir`: {about!r} is damaged"):
            content = read_json(about)
            row, improved = dict(content["row"]), bool(content["improved"])
        with disk_errors(self.path), contextlib.suppress(FileNotFoundError):
            os.replace(os.path.join(folder, _LAST), self.file(_LAST))
        if improved:
            with replacing(self.file(_BEST)) as path:  # takes less time than to save it
                shutil.copyfile(self.file(_LAST), path)
        self.write_row(row)  # others take it for the end of what was before
        return True

    def forget_epoch(self, step: int) -> None:
        """Removes what `take_epoch` has left, once all is done that follows from it."""
        with disk_errors(self.path):
            os.remove(os.path.join(self._epoch(step), _EPOCH_FILE))
            os.rmdir(self._epoch(step))

    def _epoch(self, step: int) -> str:
        return self.file(os.path.join(CHECKPOINTS, f"{_EPOCH}{step}"))
