"""What a search leaves on disk, and how it is picked up after a kill.

KerasTuner keeps a search in `oracle.json` and a `trial.json` a trial. Here they are
replaced whole, so that a kill leaves a state between two trials' events; `mend` makes
of every such state one that KerasTuner goes on from without losing a trial.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
from collections.abc import Mapping
from typing import Any

from scalenet_tf.files import TEMPORARY
from scalenet_training.errors import UsageError
from scalenet_training.runs.files import check_writable, disk_errors, replaced

SPACE_FILE = "search.json"
ORACLE_FILE = "oracle.json"
_ENDED = frozenset({"COMPLETED", "FAILED"})


def write_json(path: str, content: Any) -> None:
    """Replaces a JSON file whole.

    Raises:
        RunError: It cannot be written.
    """
    text = json.dumps(content, indent=1)
    with (
        disk_errors(path),
        replaced(path) as temporary,
        open(temporary, "w", encoding="utf-8") as file,
    ):
        file.write(text + "\n")


class SearchFolder:
    """The folder of a search, or of one for each of several targets.

    `search.json` (what is searched), a folder a target with KerasTuner's files,
    `trials.csv`, `tuning.png`, `allocation.json` or one a target.
    """

    def __init__(self, path: str):
        self.path = path

    def file(self, name: str) -> str:
        """Path of a file of the search."""
        return os.path.join(self.path, name)

    def check(
        self, space: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
    ) -> None:
        """Checks that a search of this space may use the folder; writes nothing.

        Args:
            space: What is searched.
            defaults: What holds for a search from before a name was recorded.

        Raises:
            UsageError: It holds another search or other things, or cannot be written.
        """
        check_writable(self.path, "--workdir")
        if not os.path.exists(self.path):
            return
        if not os.path.exists(self.file(SPACE_FILE)):
            if any(not n.startswith(TEMPORARY) for n in os.listdir(self.path)):
                raise UsageError(
                    "--workdir must be new, empty, or the folder of a search. "
                    f"Received: {self.path!r}, which holds other files."
                )
            return
        recorded = {**(defaults or {}), **_read(self.file(SPACE_FILE))}
        different = [
            "data (files were added, removed, renamed or replaced)"
            if name == "data"
            else f"{name} ({recorded.get(name)!r} there, {value!r} now)"
            for name, value in space.items()
            if recorded.get(name) != value
        ]
        if different:
            raise UsageError(
                f"--workdir {self.path!r} holds a search of another space: "
                f"{', '.join(different)}. Give another --workdir, or the search's own "
                "settings to go on with it."
            )

    def claim(self, space: Mapping[str, Any]) -> None:
        """Makes the folder, and says in it what is searched."""
        with disk_errors(self.path):
            os.makedirs(self.path, exist_ok=True)
        if not os.path.exists(self.file(SPACE_FILE)):
            write_json(self.file(SPACE_FILE), space)

    def ended_trials(self, project: str) -> int:
        """How many trials of a target's search have ended."""
        return sum(
            trial["status"] in _ENDED for trial in _trials(self.file(project)).values()
        )

    def mend(self, project: str, tuner_id: str) -> None:
        """Makes the search of a target one that KerasTuner goes on from.

        Trials that never got on record are forgotten: they are made again, the same.
        Trials that ended stay so, and those that were running run again, from the
        start. KerasTuner alone would lose the first and repeat some of the second.

        Raises:
            UsageError: The files are not those of a search.
        """
        folder = self.file(project)
        for path in glob.glob(
            os.path.join(glob.escape(folder), "**", f"{TEMPORARY}*"), recursive=True
        ):
            shutil.rmtree(path, ignore_errors=True)
        oracle_file = os.path.join(folder, ORACLE_FILE)
        # KerasTuner takes this file's presence for a search's to go on with.
        tuner_file = os.path.join(folder, f"{tuner_id}.json")
        state = _read(oracle_file) if os.path.exists(oracle_file) else None
        recorded = [] if state is None else state["start_order"]
        trials = _trials(folder)
        for name in trials.keys() - set(recorded):
            shutil.rmtree(_trial_folder(folder, name))
        if state is None:
            if os.path.exists(tuner_file):
                os.remove(tuner_file)
            return
        missing = [name for name in recorded if name not in trials]
        if missing:
            raise UsageError(
                f"--workdir: {folder!r} is damaged, there is no trial.json of trial "
                f"{', '.join(missing)}. Give another --workdir."
            )
        ended = [name for name in recorded if trials[name]["status"] in _ENDED]
        running = [name for name in recorded if name not in ended]
        for name in running:
            # KerasTuner would keep what the killed attempt reported.
            trials[name]["metrics"] = {"metrics": {}}
            write_json(
                os.path.join(_trial_folder(folder, name), "trial.json"), trials[name]
            )
        order = state["end_order"]
        state["end_order"] = [*order, *(name for name in ended if name not in order)]
        state["ongoing_trials"] = {}
        state["retry_queue"] = running[::-1]  # its last is taken first
        write_json(oracle_file, state)
        write_json(tuner_file, {})

    def forget_worker(self, project: str, tuner_id: str) -> None:
        """Removes a worker's own file, which holds nothing and may be half written."""
        path = os.path.join(self.file(project), f"{tuner_id}.json")
        if os.path.exists(path):
            os.remove(path)


def _trials(folder: str) -> dict[str, dict[str, Any]]:
    """The content of each trial.json, by the trial's name."""
    pattern = os.path.join(_trial_folder(glob.escape(folder), "*"), "trial.json")
    return {
        os.path.basename(os.path.dirname(path)).removeprefix("trial_"): _read(path)
        for path in glob.glob(pattern)
    }


def _trial_folder(folder: str, name: str) -> str:
    return os.path.join(folder, f"trial_{name}")


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError) as error:
        raise UsageError(f"--workdir: {path!r} cannot be read: {error}.") from error
    return content
