"""A run in MLflow. The package is imported when a run is opened."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from scalenet_training.tracking.interface import (
    PROJECT,
    End,
    Row,
    TrackedRun,
    points_of,
    without,
)

# Of a run; what it is found by again, whichever process has made it.
TAG = "scalenet_tf_run"

_STATUS = {End.FINISHED: "FINISHED", End.FAILED: "FAILED", End.INTERRUPTED: "KILLED"}
_MOST_PARAMETERS = 100  # in one request


class MlflowRun:
    """A run in the store that MLflow's environment variables name.

    Points are compared one number at a time, since not every store writes the numbers
    of an epoch all at once.
    """

    def __init__(self, run: TrackedRun):
        import mlflow

        self._run = run
        self._client = mlflow.MlflowClient()
        self._experiment = self._find_experiment()
        self._id, self._status = self._find_run()
        self._points: set[tuple[int, str]] | None = None  # that are there, once known

    def has_all(self, rows: Sequence[Row]) -> bool:
        """Whether the run has ended there as finished, with these rows."""
        return self._status == _STATUS[End.FINISHED] and not self.lacking(rows)

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Makes the run, or goes on with it; sends the parameters that it lacks.

        Those that it has stay as they are: MLflow changes no parameter.
        """
        from mlflow.entities import Param

        if self._id is None:
            tags = {TAG: self._run.identity}
            experiment = self._experiment or self._make_experiment()
            made = self._client.create_run(
                experiment, tags=tags, run_name=self._run.name
            )
            self._id = made.info.run_id
        else:
            self._client.update_run(self._id, status="RUNNING")
        there = self._client.get_run(self._run_id).data.params
        left = [Param(n, str(value)) for n, value in settings.items() if n not in there]
        for start in range(0, len(left), _MOST_PARAMETERS):
            part = left[start : start + _MOST_PARAMETERS]
            self._client.log_batch(self._run_id, params=part)

    def lacking(self, rows: Sequence[Row]) -> list[Row]:
        """The rows, with the numbers that are not there."""
        return without(rows, self._there())

    def send(self, row: Row) -> None:
        """Sends the numbers of an epoch in one request."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(name, float(value), now, row["epoch"])
            for name, value in row.items()
            if name != "epoch"
        ]
        self._client.log_batch(self._run_id, metrics=metrics)
        self._there().update(points_of(row))

    def send_files(self, paths: Sequence[str]) -> None:
        """Sends files, which replace those of the same names."""
        for path in paths:
            self._client.log_artifact(self._run_id, path)

    def end(self, how: End) -> None:
        """Sets the status that says how it ended."""
        self._client.set_terminated(self._run_id, status=_STATUS[how])

    @property
    def _run_id(self) -> str:
        assert self._id is not None  # since `begin`
        return self._id

    def _there(self) -> set[tuple[int, str]]:
        if self._points is None:
            client = self._client
            self._points = {
                (metric.step, name)
                for name in client.get_run(self._run_id).data.metrics
                for metric in client.get_metric_history(self._run_id, name)
            }
        return self._points

    def _find_experiment(self) -> str | None:
        number = os.environ.get("MLFLOW_EXPERIMENT_ID")
        if number:
            return number
        found = self._client.get_experiment_by_name(_experiment_name())
        return None if found is None else found.experiment_id

    def _make_experiment(self) -> str:
        try:
            return self._client.create_experiment(_experiment_name())
        except Exception:  # another training has just made it, or it cannot be made
            found = self._find_experiment()
            if found is None:
                raise
            return found

    def _find_run(self) -> tuple[str | None, str | None]:
        """The run's id and status there; two `None` where there is none."""
        if self._experiment is None:
            return None, None
        found = self._client.search_runs(
            [self._experiment],
            filter_string=f"tags.{TAG} = '{self._run.identity}'",
            max_results=1,
        )
        return (found[0].info.run_id, found[0].info.status) if found else (None, None)


def _experiment_name() -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
