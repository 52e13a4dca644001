"""A tracker in memory, which counts what is written to it, and may fail."""

import os

from scalenet_training.tracking.interface import End, TrackerKind, without


def unique(points):
    """(epoch, name) -> value of points (epoch, name, value), none of them doubled."""
    found = {}
    for epoch, name, value in points:
        assert (epoch, name) not in found, f"{name} of {epoch} is there twice"
        found[epoch, name] = value
    return found


class Server:
    """Runs by their identities; its tracker writes number by number.

    Args:
        write: Called before each write.
    """

    def __init__(self, write=lambda: None):
        self.write = write
        self.runs = {}

    def kind(self):
        return TrackerKind("Fake", "json", "fake", "fake", lambda run: Run(self, run))

    @property
    def run(self):
        """The only run."""
        (run,) = self.runs.values()
        return run

    def numbers(self):
        """(epoch, name) -> value; there must be no two of them."""
        return unique(self.run["points"])


class Run:
    def __init__(self, server, tracked):
        self._server, self._tracked = server, tracked

    @property
    def _run(self):
        return self._server.runs[self._tracked.identity]

    def has_all(self, rows):
        there = self._server.runs.get(self._tracked.identity, {"status": None})
        return there["status"] is End.FINISHED and not self.lacking(rows)

    def begin(self, settings):
        if self._tracked.identity not in self._server.runs:
            self._server.write()
            self._server.runs[self._tracked.identity] = {
                "name": self._tracked.name,
                "settings": {},
                "points": [],
                "files": {},
                "status": None,
            }
        self._server.write()
        self._run["status"] = None
        for name, value in settings.items():
            if name not in self._run["settings"]:
                self._run["settings"][name] = value

    def lacking(self, rows):
        there = {(epoch, name) for epoch, name, _ in self._run["points"]}
        return without(rows, there)

    def send(self, row):
        for name, value in row.items():
            if name != "epoch":
                self._server.write()
                self._run["points"].append((row["epoch"], name, value))

    def send_files(self, paths):
        for path in paths:
            self._server.write()
            with open(path, "rb") as file:
                self._run["files"][os.path.basename(path)] = file.read()

    def end(self, how):
        self._server.write()
        self._run["status"] = how
