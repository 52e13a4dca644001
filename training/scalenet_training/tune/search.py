"""The search for one target: KerasTuner proposes trials, which are ordinary runs."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
import warnings

import keras_tuner
import tensorflow as tf
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial

from scalenet_tf import Architecture, HyperScaleNet
from scalenet_training.bars import Bar
from scalenet_training.errors import RunError
from scalenet_training.networks.allocation_file import write_allocation
from scalenet_training.runs.files import disk_errors, remove_leftovers
from scalenet_training.runs.metrics import best_row
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.divergence import DivergedError
from scalenet_training.tune.config import TuneConfig
from scalenet_training.tune.folder import SearchFolder
from scalenet_training.tune.oracles import OBJECTIVE, open_oracle
from scalenet_training.tune.processes import Call
from scalenet_training.tune.roles import Role, chief_listens
from scalenet_training.tune.trials import train_trial

_FAILURES_IN_A_ROW = 3


class _Tuner(BaseTuner):
    """Connects an oracle with those that ask it for trials; writes no files."""

    def save(self) -> None:
        pass

    def reload(self) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class Search:
    """The search for one target.

    Attributes:
        config: The settings.
        folder: The folder of the search.
        project: Name of the target's folder in it.
        hypermodel: What is searched.
        image_size: Side of the images, in pixels.
    """

    config: TuneConfig
    folder: SearchFolder
    project: str
    hypermodel: HyperScaleNet
    image_size: int

    def run(self, role: Role, call: Call) -> None:
        """Runs trials until all have ended, or, as the chief, hands them out.

        Args:
            role: What this process is in the search.
            call: Calls a function in another process.

        Raises:
            UsageError: The state on disk cannot be read.
            RunError: Three trials in a row failed, or a trial's run could not go on.
        """
        trials = self.config.max_trials
        ended = self.folder.ended_trials(self.project)
        # A chief that is still there waits for each of its workers to ask once more.
        if ended >= trials and not (role == "worker" and chief_listens()):
            return
        if role == "alone":  # or others may be writing there
            remove_leftovers(self.folder.path)
            remove_leftovers(self.folder.file(self.project))
        tuner = _Tuner(
            self._oracle(), directory=self.folder.path, project_name=self.project
        )
        if role == "chief":
            tuner.search()
            return
        with Bar(total=trials, initial=ended, unit="trial", desc=self.project) as bar:
            self._run_trials(tuner, call, bar)

    def trials(self) -> list[Trial]:
        """All trials, the best first.

        Raises:
            UsageError: The state on disk cannot be read.
        """
        oracle = self._oracle()
        return oracle.get_best_trials(len(oracle.trials))

    def _oracle(self) -> keras_tuner.Oracle:
        return open_oracle(self.config, self.hypermodel, self.folder, self.project)

    def _run_trials(self, tuner: BaseTuner, call: Call, bar: Bar) -> None:
        oracle = tuner.oracle
        failures = 0
        while (trial := _next_trial(tuner)).status != "STOPPED":
            if trial.status == "IDLE":  # it depends on trials of other workers
                time.sleep(1)
                continue
            began = time.perf_counter()
            outcome = self._run_trial(trial, oracle, call)
            oracle.end_trial(trial)
            seconds = time.perf_counter() - began
            bar.update()
            bar.write(f"trial {trial.trial_id}{outcome}, {seconds:.0f} s")
            sys.stdout.flush()
            failures = failures + 1 if trial.status == "FAILED" else 0
            if failures == _FAILURES_IN_A_ROW:
                raise RunError(
                    f"three trials in a row failed, the last: {trial.message}"
                )

    def _run_trial(self, trial: Trial, oracle: keras_tuner.Oracle, call: Call) -> str:
        """Trains a trial and sets its status; returns how it ended, in words."""
        architecture = self.hypermodel.architecture(trial.hyperparameters)
        config = self._train_config(trial, self._owner(trial, oracle), architecture)
        log = None
        if not self.config.verbose:
            log = os.path.join(os.path.dirname(config.run_folder), "train.log")
        try:
            rows = call(train_trial, config, self.folder.path, log)
        # These say nothing about the next trial; any other error ends the search.
        except DivergedError as error:
            return _fail(trial, error.args[0])
        except tf.errors.ResourceExhaustedError as error:
            return _fail(trial, error.message)
        first = trial.hyperparameters.values.get("tuner/initial_epoch", 0)
        rows = [row for row in rows if row["epoch"] >= first]
        if not rows:
            raise RunError(f"{config.run_folder!r} has lost its metrics.csv.")
        row = best_row(rows)
        metrics = {OBJECTIVE: 1 - row["val_top1_error"]}
        oracle.update_trial(trial.trial_id, metrics, step=row["epoch"])
        trial.status = "COMPLETED"
        macs = architecture.macs(self.hypermodel.classes)
        return f": {row['val_top1_error']:.2%} validation error, {macs:,} MACs"

    def _owner(self, trial: Trial, oracle: keras_tuner.Oracle) -> str:
        """The trial that began this trial's run, which hyperband goes on with."""
        while before := trial.hyperparameters.values.get("tuner/trial_id"):
            trial = oracle.get_trial(before)
        return trial.trial_id

    def _train_config(
        self, trial: Trial, owner: str, architecture: Architecture
    ) -> TrainConfig:
        """The settings of a trial's run, whose network is written to its folder."""
        folder = self.folder.trial(self.project, owner)
        with disk_errors(folder):
            os.makedirs(folder, exist_ok=True)
            remove_leftovers(folder)
        network = os.path.join(folder, "architecture.json")
        write_allocation(network, architecture, {"trial": owner})
        values = trial.hyperparameters.values
        return self.config.train_config(
            model=network,
            workdir=os.path.join(folder, "run"),
            epochs=values.get("tuner/epochs", self.config.epochs),
            **self.hypermodel.training_settings(trial.hyperparameters),
        )


def _fail(trial: Trial, reason: str) -> str:
    trial.status, trial.message = "FAILED", reason
    return f" failed: {reason}"


def _next_trial(tuner: BaseTuner) -> Trial:
    # The Gaussian process of a bayesian search warns where trials are few.
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        return tuner.oracle.create_trial(tuner.tuner_id)
