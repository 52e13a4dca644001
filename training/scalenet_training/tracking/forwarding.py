"""When a tracker gets what of a run. Imports no TensorFlow."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from scalenet_tf.files import read_json
from scalenet_training.cli.output import OutputError
from scalenet_training.cli.running import warn
from scalenet_training.errors import InterruptedRunError
from scalenet_training.runs.files import write_json
from scalenet_training.runs.metrics import METRICS_FILE
from scalenet_training.runs.record import CONFIG_FILE, RunRecord
from scalenet_training.runs.run_folder import CURVES_FILE, TRACKING_FILE, RunFolder
from scalenet_training.text import shown
from scalenet_training.tracking.interface import End, TrackedRun, Tracker, TrackerKind

# What a tracker gets at the end.
FILES = (CONFIG_FILE, METRICS_FILE, CURVES_FILE, "best.keras")

_IDENTITY = re.compile(r"[0-9a-f]{32}")


class Forwarding:
    """Sends a tracker what the folder of a run has and it lacks.

    What it has is asked of it, once in a process, and all that is sent is read from
    the folder: wherever an earlier process was killed, no point is sent twice and none
    is left out. A tracker that fails is left alone until the next process; it never
    ends a training.

    Args:
        kind: The tracker; `None`: nothing is sent.
    """

    def __init__(self, kind: TrackerKind | None):
        self._kind = kind
        self._folder = RunFolder("")
        self._tracker: Tracker | None = None
        self._sent: int | None = None  # the last epoch that is there, once it is known

    @contextlib.contextmanager
    def of(self, folder: RunFolder) -> Iterator[None]:
        """The block trains the run; a run that had ended before is sent, too."""
        self._folder = folder
        try:
            yield
        except Exception as error:
            stopped = isinstance(error, InterruptedRunError | OutputError)
            self._try(lambda: self._leave(End.INTERRUPTED if stopped else End.FAILED))
            raise
        self.finish()

    def send_until(self, epoch: int) -> None:
        """Sends the epochs before this one that the tracker lacks.

        The folder may have later ones: of a process that was killed before it had saved
        the checkpoint that ends an epoch, so that this epoch is trained again.
        """
        self._try(lambda: self._send_until(epoch))

    def finish(self) -> None:
        """Sends all that is lacking and the files, and ends the run as finished."""
        self._try(self._finish)
        self._kind = None

    def _try(self, action: Callable[[], None]) -> None:
        if self._kind is None:
            return
        try:
            action()
        except Exception as error:
            warn(
                f"{self._kind.title} fails ({_reason(error)}). Not sent: "
                f"{self._unsent()}. The run itself is not affected. The same command "
                "sends it: when the run goes on, or once it has ended."
            )
            self._kind = None

    def _send_until(self, epoch: int) -> None:
        tracker = self._found()
        if self._sent is None:
            tracker.begin(settings_of(self._folder.read_record()))
        rows = [row for row in self._folder.rows() if row["epoch"] < epoch]
        for row in tracker.lacking(rows):
            tracker.send(row)
        self._sent = epoch - 1

    def _finish(self) -> None:
        tracker, rows = self._found(), self._folder.rows()
        if self._sent is None and tracker.has_all(rows):
            return
        self._send_until(rows[-1]["epoch"] + 1)
        paths = map(self._folder.file, FILES)
        tracker.send_files([path for path in paths if os.path.exists(path)])
        tracker.end(End.FINISHED)

    def _leave(self, how: End) -> None:
        if self._tracker is not None and self._sent is not None:
            self._tracker.end(how)

    def _found(self) -> Tracker:
        if self._tracker is None:
            assert self._kind is not None
            self._tracker = self._kind.open(tracked(self._folder))
        return self._tracker

    def _unsent(self) -> str:
        run = f"the run in {self._folder.path!r}"
        if self._sent is None:
            return f"what it lacks of {run}"
        return f"the epochs of {run} from {self._sent + 2} on, and its files"


def tracked(folder: RunFolder) -> TrackedRun:
    """The run in a folder, as trackers find it again; the folder keeps its identity.

    Raises:
        ValueError: tracking.json is damaged.
        RunError: It cannot be written.
    """
    path = folder.file(TRACKING_FILE)
    if os.path.exists(path):
        identity = _identity_in(path)
    else:
        identity = uuid.uuid4().hex
        write_json(path, {"run": identity})
    return TrackedRun(identity, shown(os.path.basename(os.path.abspath(folder.path))))


def _identity_in(path: str) -> str:
    with contextlib.suppress(ValueError):  # no JSON
        content = read_json(path)
        identity = content.get("run") if isinstance(content, dict) else None
        if isinstance(identity, str) and _IDENTITY.fullmatch(identity):
            return identity
    raise ValueError(
        f"{path!r} has no field 'run' with 32 hexadecimal digits; remove it to send "
        "the run anew"
    )


def settings_of(record: RunRecord) -> dict[str, Any]:
    """The settings of a run by name, with what follows from them."""
    facts = record.to_json()
    for name in ("config", "command", "data", "class_names", "versions"):
        facts.pop(name, None)
    facts["architecture"] = record.architecture["name"]
    versions = {f"version_{name}": text for name, text in record.versions.items()}
    return {**record.config.to_json(), **facts, **versions}


def _reason(error: Exception) -> str:
    """The kind of an error and its first line, without the passwords in addresses."""
    line = str(error).strip().partition("\n")[0].rstrip(".")
    line = re.sub(r"//[^/@\s]*@", "//", line)
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
