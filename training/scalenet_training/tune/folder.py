"""What a search leaves on disk; its state is one file, which is replaced whole."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from scalenet_tf.files import read_json, unreadable
from scalenet_training.errors import UsageError, usage_errors
from scalenet_training.runs.files import check_own_folder, disk_errors, write_json
from scalenet_training.settings.training import comparable
from scalenet_training.text import differing

SPACE_FILE = "search.json"
STATE_FILE = "oracle.json"
_MAX_BYTES = 2**27  # of the state of a search, which has all trials
_ENDED = frozenset({"COMPLETED", "FAILED"})


class SearchFolder:
    """The folder of a search for one target, or for each of several.

    It holds `search.json` (what is searched), `trials.csv`, `tuning.png`,
    `allocation.json` or one for each target, and a folder for each target (a project,
    as KerasTuner calls it) with the state of its search and a folder for each trial.
    """

    def __init__(self, path: str):
        self.path = path

    def file(self, *names: str) -> str:
        """Path of a file of the search."""
        return os.path.join(self.path, *names)

    def trial(self, project: str, name: str) -> str:
        """Path of a trial's folder, where KerasTuner has it too."""
        return self.file(project, f"trial_{name}")

    def check(
        self, space: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
    ) -> None:
        """Checks that a search of this space may use the folder; writes nothing.

        Args:
            space: What is searched.
            defaults: Values for names that an older search did not record.

        Raises:
            UsageError: It holds another search or other things, or cannot be written.
        """
        if not check_own_folder(self.path, SPACE_FILE, "search"):
            return
        recorded = {**(defaults or {}), **_read(self.file(SPACE_FILE))}
        pairs = {
            name: (recorded.get(name), value)
            for name, value in space.items()
            if comparable(name, recorded.get(name)) != comparable(name, value)
        }
        if pairs:
            files = "data (files were added, removed, renamed or replaced)"
            listed = [files] if pairs.pop("data", None) else []
            listed += [differing(pairs)] if pairs else []
            raise UsageError(
                f"`workdir` {self.path!r} holds a search of another space: "
                f"{', '.join(listed)}. Give another `workdir`, or the search's own "
                "settings to go on with it."
            )

    def claim(self, space: Mapping[str, Any]) -> None:
        """Makes the folder, and writes into it what is searched."""
        with disk_errors(self.path):
            os.makedirs(self.path, exist_ok=True)
        if not os.path.exists(self.file(SPACE_FILE)):
            write_json(self.file(SPACE_FILE), space)

    def read_state(self, project: str) -> dict[str, Any] | None:
        """The state of KerasTuner in the search for a target, with all trials.

        Trials that have not ended are in its queue of trials to run again.

        Returns:
            The state; `None` where the search has not begun.

        Raises:
            UsageError: A file cannot be read.
        """
        path = self.file(project, STATE_FILE)
        if not os.path.exists(path):
            return None
        state = _read(path)
        with _fields_of(path):
            if "trials" not in state:  # by 0.1.0, which had a file for each trial
                state["trials"] = {
                    name: _read(os.path.join(self.trial(project, name), "trial.json"))
                    for name in state["start_order"]
                    if _check_name(name)
                }
            _check_trials(state["trials"])
        trials = state["trials"]
        open_trials = [name for name in trials if trials[name]["status"] not in _ENDED]
        for name in open_trials:
            # KerasTuner would add the next attempt's metrics to the last one's.
            trials[name]["metrics"] = {"metrics": {}}
        # KerasTuner takes the last trial of the queue first.
        return {**state, "ongoing_trials": {}, "retry_queue": open_trials[::-1]}

    def ended_trials(self, project: str) -> int:
        """How many trials have ended in the search for a target."""
        state = self.read_state(project) or {"trials": {}}
        return sum(trial["status"] in _ENDED for trial in state["trials"].values())


@contextlib.contextmanager
def _fields_of(path: str) -> Iterator[None]:
    with usage_errors(ValueError), unreadable(f"`workdir`: {path!r} is damaged"):
        yield


def _check_name(name: str) -> bool:
    """Checks the name of a trial, of which the path of its folder is made."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError(f"the name of a trial is {name!r}")
    return True


def _check_trials(trials: Mapping[str, Any]) -> None:
    for name, trial in trials.items():
        _check_name(name)
        values = trial["hyperparameters"]["values"]
        if trial["trial_id"] != name or not isinstance(trial["status"], str):
            raise ValueError(f"the fields of trial {name!r} do not fit each other")
        # The trial whose run it goes on with began before it.
        before = values.get("tuner/trial_id")
        if before and list(trials).index(before) >= list(trials).index(name):
            raise ValueError(f"trial {name!r} goes on with a later one, {before!r}")


def _read(path: str) -> dict[str, Any]:
    try:
        content = read_json(path, _MAX_BYTES)
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError) as error:
        raise UsageError(f"`workdir`: {path!r} cannot be read: {error}.") from error
    return content
