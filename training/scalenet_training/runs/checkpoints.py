"""Checkpoints of a run: the newest that can be read is the one it goes on from."""

from __future__ import annotations

import glob
import os
import re
import shutil
import time
import warnings
from typing import Any

import tensorflow as tf

from scalenet_training.errors import RunError
from scalenet_training.runs.files import disk_errors, remove_leftovers, written
from scalenet_training.runs.run_folder import CHECKPOINT, checkpoint_numbers

_LIST = "checkpoint"


class Checkpoints:
    """The folder of a run's checkpoints, `ckpt-<number>`, numbered as they are saved.

    Args:
        folder: Where they are.
        kept: How many of the newest stay.
        chief: Whether this process writes; the others only read.
        state: What they hold, by name.

    Attributes:
        newest: Path of the newest checkpoint; `None` where there is none.
        good: Path of the newest one that is known to be of use; see `confirm`.
    """

    def __init__(self, folder: str, kept: int, chief: bool, **state: Any):
        self.folder = folder
        self.chief = chief
        self._checkpoint = tf.train.Checkpoint(**state)
        self._kept = kept
        self._damaged: set[int] = set()
        self._saved_at = time.monotonic()
        self.newest: str | None = None
        self.good: str | None = None

    def numbers(self) -> list[int]:
        """Numbers of the checkpoints that are there, ascending."""
        return checkpoint_numbers(self.folder)

    def path(self, number: int) -> str:
        """Path of a checkpoint, as TensorFlow takes it."""
        return os.path.join(self.folder, f"{CHECKPOINT}-{number}")

    def restore(self) -> None:
        """Takes the state of the newest checkpoint that can be read, if there is one.

        Warns of those that cannot.

        Raises:
            RunError: There are checkpoints and none can be read.
        """
        numbers = self.numbers()
        for number in reversed(numbers):
            try:
                status = self._checkpoint.read(self.path(number))
                status.assert_existing_objects_matched()
            # The reader's errors of damage have no class in common: OpError,
            # IndexError, RuntimeError; AssertionError means another state.
            except Exception as error:
                warnings.warn(
                    f"checkpoint {self.path(number)!r} is cut off or damaged and is "
                    f"passed over ({_first_line(error)})",
                    RuntimeWarning,
                    stacklevel=2,
                )
                self._damaged.add(number)
            else:
                self.newest = self.path(number)
                before = [n for n in numbers if n < number]
                self.good = self.path(before[-1]) if before else None
                return
        if numbers:
            raise RunError(
                f"none of the checkpoints in {self.folder!r} can be read. Remove that "
                "folder to train from the start."
            )

    def save(self, confirmed: bool = True) -> None:
        """Saves the state under the next number; only the newest ones stay.

        Args:
            confirmed: Whether the state is known to be of use. Else the older ones stay
                until `confirm` is called, whatever their number.

        Raises:
            RunError: It cannot be written; the checkpoints before are intact.
        """
        self._saved_at = time.monotonic()
        if not self.chief:
            return
        number = max(self.numbers(), default=0) + 1
        try:
            with disk_errors(self.folder):
                self._checkpoint.write(self.path(number))
                self._write_list()
        finally:
            self.remove_leftovers()
        self.newest = self.path(number)
        if confirmed:
            self.confirm()

    def confirm(self) -> None:
        """Says that the newest checkpoint is of use: training from it gave numbers."""
        if self.newest == self.good:
            return
        self.good = self.newest
        if self.chief:
            self._remove_old()

    def minutes_since_save(self) -> float:
        """Minutes since a checkpoint was saved, or the run began."""
        return (time.monotonic() - self._saved_at) / 60

    def _write_list(self) -> None:
        """Writes TensorFlow's list, for its own tools; nothing here reads it."""
        names = [f'"{CHECKPOINT}-{number}"' for number in self.numbers()]
        lines = [f"model_checkpoint_path: {names[-1]}\n"]
        lines += [f"all_model_checkpoint_paths: {name}\n" for name in names]
        with written(os.path.join(self.folder, _LIST)) as file:
            file.writelines(lines)

    def _remove_old(self) -> None:
        """Also those that TensorFlow does not list, since it was killed before."""
        sound = [number for number in self.numbers() if number not in self._damaged]
        for number in {*self._damaged, *sound[: -self._kept]}:
            # The index goes first: without it there is no checkpoint.
            for path in sorted(glob.glob(f"{glob.escape(self.path(number))}.*"))[::-1]:
                os.remove(path)
        self._damaged = set()

    def remove_leftovers(self) -> None:
        """Removes what saving left behind when it was killed or had no space."""
        remove_leftovers(self.folder)
        # The index gets its name last, and loses it first.
        whole = set(self.numbers())
        for path in glob.glob(f"{glob.escape(self.folder)}/{CHECKPOINT}-*.data-*"):
            number = re.match(rf"{CHECKPOINT}-(\d+)\.", os.path.basename(path))
            if number and int(number[1]) not in whole:
                os.remove(path)
        for path in glob.glob(os.path.join(glob.escape(self.folder), "*temp*")):
            shutil.rmtree(path, ignore_errors=True)
            if os.path.isfile(path):
                os.remove(path)


def _first_line(error: Exception) -> str:
    # TensorFlow begins with the operation, "{{function_node __wrapped__...}} ".
    words = re.sub(r"\{\{.*?\}\}\s*", "", str(getattr(error, "message", error)))
    lines = words.strip().splitlines()
    return lines[0] if lines else type(error).__name__
