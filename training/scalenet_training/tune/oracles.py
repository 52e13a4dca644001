"""KerasTuner's oracles, which propose trials, kept in a file that is replaced whole."""

from __future__ import annotations

from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial

from scalenet_tf import HyperScaleNet
from scalenet_tf.files import unreadable
from scalenet_training.errors import usage_errors
from scalenet_training.runs.files import write_json
from scalenet_training.tune.config import TuneConfig
from scalenet_training.tune.folder import STATE_FILE, SearchFolder

OBJECTIVE = "val_accuracy"


class _Durable(keras_tuner.Oracle):
    """An oracle that saves itself and its trials in one step.

    KerasTuner calls `save` when a trial has begun or ended. Its own method writes in
    place, and trials to other files: a kill leaves files that do not fit together.
    """

    folder: SearchFolder
    project: str

    def save(self) -> None:
        trials = {name: trial.get_state() for name, trial in self.trials.items()}
        path = self.folder.file(self.project, STATE_FILE)
        write_json(path, {**self.get_state(), "trials": trials})

    def _save_trial(self, trial: Trial) -> None:
        pass  # `save` has all of them

    def reload(self) -> None:
        state = self.folder.read_state(self.project)
        if state is not None:
            path = self.folder.file(self.project, STATE_FILE)
            with usage_errors(ValueError), unreadable(f"{path!r} is damaged"):
                found = state["trials"].items()
                self.trials = {name: Trial.from_state(trial) for name, trial in found}
                self.set_state(state)


def open_oracle(
    config: TuneConfig, hypermodel: HyperScaleNet, folder: SearchFolder, project: str
) -> keras_tuner.Oracle:
    """The oracle of the search for a target, in the state that is on disk.

    Args:
        config: The settings.
        hypermodel: Declares the hyperparameters.
        folder: The folder of the search.
        project: Name of the target's folder in it.

    Raises:
        UsageError: The state on disk cannot be read.
    """
    oracles: dict[str, tuple[type, dict[str, Any]]] = {
        "random": (keras_tuner.oracles.RandomSearchOracle, {}),
        "bayesian": (
            keras_tuner.oracles.BayesianOptimizationOracle,
            # The default, three for each hyperparameter, makes short searches random.
            {"num_initial_points": max(2, config.max_trials // 3)},
        ),
        "hyperband": (
            keras_tuner.oracles.HyperbandOracle,
            {"max_epochs": config.epochs, "hyperband_iterations": None},
        ),
    }
    kind, settings = oracles[config.tuner]
    space = keras_tuner.HyperParameters()
    hypermodel.training_settings(space)  # first: samples depend on the order
    hypermodel.architecture(space)
    oracle = type("Oracle", (_Durable, kind), {})(
        objective=keras_tuner.Objective(OBJECTIVE, "max"),
        hyperparameters=space,
        seed=config.seed + 1,  # to KerasTuner, 0 is no seed
        # Never: it would end the search before it has saved the last failure.
        max_consecutive_failed_trials=config.max_trials + 1,
        **settings,
    )
    oracle.folder, oracle.project = folder, project
    oracle.max_trials = config.max_trials
    oracle.verbose = 0
    oracle.reload()
    return oracle
