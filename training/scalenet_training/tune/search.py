"""A search for channel budgets by KerasTuner, on the data of the other commands."""

from __future__ import annotations

import dataclasses
import itertools
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal

import keras
import keras_tuner
import tensorflow as tf
from tqdm import tqdm

from scalenet_tf import HyperScaleNet
from scalenet_training.data.batches import Batch, evaluation_batches, training_batches
from scalenet_training.data.errors import data_errors
from scalenet_training.errors import RunError
from scalenet_training.train.examples import Examples
from scalenet_training.tune.config import TuneConfig
from scalenet_training.tune.folder import ORACLE_FILE, SearchFolder, write_json

OBJECTIVE = "val_accuracy"
Role = Literal["alone", "chief", "worker"]

_VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")


def find_role(environment: Mapping[str, str]) -> Role:
    """What this process is in a search that several share.

    Raises:
        ValueError: Some, but not all of KerasTuner's variables are set.
    """
    given = [name for name in _VARIABLES if environment.get(name)]
    if not given:
        return "alone"
    if len(given) < len(_VARIABLES):
        raise ValueError(
            f"a search that several processes share needs the environment variables "
            f"{', '.join(_VARIABLES)}. Received: {', '.join(given)}."
        )
    return "chief" if "chief" in environment["KERASTUNER_TUNER_ID"] else "worker"


def tuner_id(environment: Mapping[str, str]) -> str:
    """The name that KerasTuner gives its file of this process."""
    return environment.get("KERASTUNER_TUNER_ID") or "tuner0"


def _chief_listens() -> bool:
    address = os.environ["KERASTUNER_ORACLE_IP"], os.environ["KERASTUNER_ORACLE_PORT"]
    try:
        socket.create_connection(address, timeout=5).close()
    except OSError:
        return False
    return True


class TrialModel(HyperScaleNet):
    """A hypermodel that is trained on a run's examples.

    Args:
        examples: What trials are trained and evaluated on.
        batch_size: Examples of a step.
        seed: Of weights, order and augmentation; the same in every trial.
        **kwargs: Of `HyperScaleNet`.
    """

    def __init__(self, examples: Examples, batch_size: int, seed: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.examples = examples
        self.batch_size = batch_size
        self.seed = seed

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The compiled network; trials differ by their hyperparameters alone."""
        keras.utils.set_random_seed(self.seed)
        return super().build(hp)

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        *,
        epochs: int,
        initial_epoch: int = 0,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains and evaluates after every epoch.

        Raises:
            keras_tuner.errors.FatalError: An example cannot be read, which would fail
                every trial.
            keras_tuner.errors.FailedTrialError: The loss became NaN or infinite.
        """
        splits = self.examples.train_split, self.examples.eval_split
        try:
            with data_errors(splits[0]), data_errors(splits[1]):
                return super().fit(
                    hp,
                    model,
                    self._training(initial_epoch),
                    steps_per_epoch=splits[0].size // self.batch_size,
                    validation_data=self._evaluation(),
                    epochs=epochs,
                    initial_epoch=initial_epoch,
                    **kwargs,
                )
        except RunError as error:
            raise keras_tuner.errors.FatalError(str(error)) from error

    def _training(self, first_epoch: int) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        for epoch in itertools.count(first_epoch):
            batches = training_batches(
                self.examples.train_split,
                self.examples.transform,
                self.batch_size,
                self.seed,
                epoch,
                start_step=0,
            )
            for images, labels, _ in batches(tf.distribute.InputContext()):
                yield images, labels

    def _evaluation(self) -> tf.data.Dataset:
        def without_padding(*batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            images, labels, weights = batch
            return images[weights > 0], labels[weights > 0]

        batches: Callable[..., tf.data.Dataset[Batch]] = evaluation_batches(
            self.examples.eval_split, self.examples.transform, self.batch_size
        )
        return batches(tf.distribute.InputContext()).map(without_padding)


class _DurableOracle:
    """Replaces the files of a search whole, where KerasTuner writes them in place."""

    def save(self) -> None:
        write_json(os.path.join(self._project_dir, ORACLE_FILE), self.get_state())

    def _save_trial(self, trial: Any) -> None:
        folder = self._get_trial_dir(trial.trial_id)
        write_json(os.path.join(folder, "trial.json"), trial.get_state())


class _RandomOracle(_DurableOracle, keras_tuner.oracles.RandomSearchOracle):
    pass


class _BayesianOracle(_DurableOracle, keras_tuner.oracles.BayesianOptimizationOracle):
    pass


class _HyperbandOracle(_DurableOracle, keras_tuner.oracles.HyperbandOracle):
    pass


class _EnoughError(Exception):
    """This process has run its number of trials, and more are left."""


class _Reporting:
    """Tells how each trial ended, and stops after some.

    Attributes:
        report: Called with the trial, as the oracle has it, and its seconds.
        left: How many trials this process may still run.
    """

    report: Callable[[Any, float], None]
    left: int

    def pre_create_trial(self) -> None:
        super().pre_create_trial()
        if self.left == 0:
            raise _EnoughError

    def on_trial_begin(self, trial: Any) -> None:
        super().on_trial_begin(trial)
        self._began = time.perf_counter()

    def on_trial_end(self, trial: Any) -> None:
        super().on_trial_end(trial)
        self.left -= 1
        seconds = time.perf_counter() - self._began
        self.report(self.oracle.get_trial(trial.trial_id), seconds)


class _Tuner(_Reporting, keras_tuner.Tuner):
    pass


class _Hyperband(_Reporting, keras_tuner.Hyperband):
    def __init__(self, oracle: Any, **kwargs: Any):
        # Hyperband's own constructor would make another oracle.
        keras_tuner.Tuner.__init__(self, oracle=oracle, **kwargs)


def _random(settings: Mapping[str, Any], config: TuneConfig) -> Any:
    return _RandomOracle(max_trials=config.max_trials, **settings)


def _bayesian(settings: Mapping[str, Any], config: TuneConfig) -> Any:
    # KerasTuner's default, three a hyperparameter, would make short searches random.
    first = max(2, config.max_trials // 3)
    return _BayesianOracle(
        max_trials=config.max_trials, num_initial_points=first, **settings
    )


def _hyperband(settings: Mapping[str, Any], config: TuneConfig) -> Any:
    oracle = _HyperbandOracle(
        max_epochs=config.epochs, hyperband_iterations=None, **settings
    )
    oracle.max_trials = config.max_trials
    return oracle


_ORACLES: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {"random": _random, "bayesian": _bayesian, "hyperband": _hyperband}
)


@dataclasses.dataclass(frozen=True)
class Search:
    """The search for one target.

    Attributes:
        config: The settings.
        project: Name of its folder in the search's folder.
        hypermodel: What is searched, and on what data.
    """

    config: TuneConfig
    project: str
    hypermodel: TrialModel

    def run(self, folder: SearchFolder, role: Role) -> bool:
        """Runs trials, or, as the chief, hands them out.

        Returns:
            Whether all have ended; else the search goes on in a fresh process.

        Raises:
            RunError: Three trials in a row failed, or examples cannot be read.
        """
        config = self.config
        name = tuner_id(os.environ)
        if role == "worker":
            folder.forget_worker(self.project, name)
        else:
            folder.mend(self.project, name)
        ended = folder.ended_trials(self.project)
        # A chief that is still there waits for each of its workers to ask once more.
        if ended >= config.max_trials and not (role == "worker" and _chief_listens()):
            return True
        with tqdm(
            total=config.max_trials,
            initial=ended,
            unit="trial",
            desc=self.project,
            disable=role == "chief",
        ) as bar:
            tuner = self._tuner(folder)
            tuner.report = self._reporter(bar)
            tuner.left = config.trials_per_process
            return self._search(tuner)

    def _search(self, tuner: Any) -> bool:
        config = self.config
        try:
            # Of the Gaussian process, where trials are few.
            with warnings.catch_warnings(action="ignore", category=UserWarning):
                tuner.search(epochs=config.epochs, verbose=int(config.verbose))
        except _EnoughError:
            return False
        except keras_tuner.errors.FatalError as error:
            raise RunError(str(error)) from error
        except RuntimeError as error:
            if "consecutive failures" not in str(error):
                raise
            raise RunError(f"three trials in a row failed. {error}") from error
        return True

    def trials(self, folder: SearchFolder) -> list[Any]:
        """KerasTuner's trials, the best first."""
        oracle = self._oracle()
        oracle._set_project_dir(folder.path, self.project)
        oracle.reload()
        return oracle.get_best_trials(len(oracle.trials))

    def _oracle(self) -> Any:
        settings = {
            "objective": keras_tuner.Objective(OBJECTIVE, "max"),
            "seed": self.config.seed + 1,  # to KerasTuner, 0 is no seed
        }
        oracle = _ORACLES[self.config.tuner](settings, self.config)
        oracle.verbose = 0
        return oracle

    def _tuner(self, folder: SearchFolder) -> Any:
        kind = _Hyperband if self.config.tuner == "hyperband" else _Tuner
        return kind(
            oracle=self._oracle(),
            hypermodel=self.hypermodel,
            directory=folder.path,
            project_name=self.project,
        )

    def _reporter(self, bar: tqdm) -> Callable[[Any, float], None]:
        def report(trial: Any, seconds: float) -> None:
            bar.update()
            bar.write(f"trial {trial.trial_id}{self._outcome(trial)}, {seconds:.0f} s")
            sys.stdout.flush()

        return report

    def _outcome(self, trial: Any) -> str:
        if trial.score is None:
            reason = (trial.message or "").strip().splitlines()[-1:]
            return f" failed: {' '.join(reason)}"
        architecture = self.hypermodel.architecture(trial.hyperparameters)
        macs = architecture.macs(self.hypermodel.classes)
        return f": {1 - trial.score:.2%} validation error, {macs:,} MACs"
