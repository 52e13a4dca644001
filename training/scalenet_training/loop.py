"""Epochs of training and evaluation, with checkpoints: one loop for all strategies."""

from __future__ import annotations

import time

import keras
import numpy as np
import tensorflow as tf

from scalenet_training import distribution
from scalenet_training.callbacks import ScalarSummaries
from scalenet_training.config import TrainConfig
from scalenet_training.errors import RunError, usage_errors
from scalenet_training.evaluation import Evaluator, data_errors
from scalenet_training.files import disk_errors, replaced
from scalenet_training.pipeline import training_batches
from scalenet_training.plan import Plan, prepare
from scalenet_training.plots import plot_curves
from scalenet_training.run_folder import CURVES_FILE, RunFolder
from scalenet_training.step import (
    SUMS,
    make_train_step,
    means,
)

# Reading a number makes the host wait for the devices, so not at every step.
_STEPS_BETWEEN_READS = 20
_CHECKPOINTS_KEPT = 3


def train_and_evaluate(config: TrainConfig, workdir: str) -> dict[str, float]:
    """Trains as the settings say, in `workdir`; resumes the run that is there.

    Returns:
        The last row of metrics.csv.

    Raises:
        UsageError: The settings cannot be run; nothing was written.
        RunError: The run began and could not go on.
    """
    folder = RunFolder(workdir)
    with usage_errors():
        folder.check(config)
        plan = prepare(config)
    folder.check_facts(plan.describe())
    return Trainer(plan, folder).run()


class Trainer:
    """A run in progress.

    All that a continuation needs is in its checkpoint: weights, optimizer, moving
    average, the sums of the epoch so far, the best error. The step says how far the
    run is in which epoch.
    """

    def __init__(self, plan: Plan, folder: RunFolder):
        self.plan = plan
        self.folder = folder
        self.totals = tf.Variable(tf.zeros(SUMS, tf.float64), name="epoch_sums")
        self.best_error = tf.Variable(np.inf, dtype=tf.float64, name="best_error")
        checkpoint = tf.train.Checkpoint(
            model=plan.model,
            optimizer=plan.optimizer,
            totals=self.totals,
            best_error=self.best_error,
            **({} if plan.average is None else {"average": plan.average}),
        )
        self.checkpoints = tf.train.CheckpointManager(
            checkpoint, folder.file("checkpoints"), max_to_keep=_CHECKPOINTS_KEPT
        )
        self.saved_at = time.monotonic()
        self.train_step = make_train_step(
            plan.model,
            plan.optimizer,
            plan.objective,
            plan.strategy,
            plan.xla,
            plan.average,
            plan.config.ema,
        )
        models = [plan.model, *([] if plan.average is None else [plan.average])]
        self.average_statistics = distribution.make_statistics_average(
            models, plan.strategy
        )
        self.evaluator = Evaluator(
            plan.final_model,
            plan.eval_split,
            plan.transform,
            plan.config.batch_size,
            plan.strategy,
            plan.xla,
        )

    @property
    def step(self) -> int:
        """Updates made so far."""
        return int(self.plan.optimizer.iterations.numpy())

    def run(self) -> dict[str, float]:
        """Goes on from the newest checkpoint to the end; returns the last row."""
        self.checkpoints.restore_or_initialize()
        plan, folder = self.plan, self.folder
        self._announce()
        if self.step >= plan.total_steps:
            return self._last_row()
        folder.write_config(plan.describe())
        callbacks = self._callbacks()
        callbacks.on_train_begin()
        first_epoch = self.step // plan.steps_per_epoch
        row: dict[str, float] = {}
        for epoch in range(first_epoch, plan.config.epochs):
            callbacks.on_epoch_begin(epoch)
            images_per_second = self._train_epoch(epoch, callbacks)
            row = self._finish_epoch(epoch, images_per_second)
            callbacks.on_epoch_end(
                epoch, {name: row[name] for name in row if name != "epoch"}
            )
            if self.step >= plan.total_steps:
                break
        callbacks.on_train_end()
        return row

    def _train_epoch(
        self, epoch: int, callbacks: keras.callbacks.CallbackList
    ) -> float:
        """Trains to the epoch's end, or the run's; returns images a second."""
        plan = self.plan
        before = epoch * plan.steps_per_epoch
        start = self.step - before
        stop = min(plan.steps_per_epoch, plan.total_steps - before)
        if start == 0:
            self.totals.assign(tf.zeros_like(self.totals))
        batches = plan.strategy.distribute_datasets_from_function(
            training_batches(
                plan.train_split,
                plan.transform,
                plan.config.batch_size,
                plan.config.seed,
                epoch,
                start,
            )
        )
        began = time.perf_counter()
        timed_from = start
        with data_errors(plan.train_split):
            for index, batch in zip(range(start, stop), batches, strict=False):
                callbacks.on_train_batch_begin(index)
                self.totals.assign_add(self.train_step(batch))
                read = (index + 1) % _STEPS_BETWEEN_READS == 0 or index + 1 == stop
                logs = means(self.totals.numpy()) if read else {}
                callbacks.on_train_batch_end(index, logs)
                if read and index + 1 < stop and self._checkpoint_is_due():
                    self._save_checkpoint()
                if index == start and stop - start > 1:  # the first step compiles
                    self.totals.numpy()
                    began, timed_from = time.perf_counter(), start + 1
        if self.step != before + stop:
            raise RunError(
                f"--train-split gave fewer than its {plan.train_split.size} examples: "
                "the dataset changed while it was read."
            )
        seconds = time.perf_counter() - began
        return (stop - timed_from) * plan.config.batch_size / seconds

    def _finish_epoch(self, epoch: int, images_per_second: float) -> dict[str, float]:
        """Evaluates and saves; the checkpoint comes last, as it ends the epoch."""
        plan, folder = self.plan, self.folder
        self.average_statistics()
        evaluation = self.evaluator.run()
        row = {
            "epoch": epoch,
            **means(self.totals.numpy()),
            **{f"val_{name}": value for name, value in evaluation.items()},
            "learning_rate": float(plan.schedule(self.step - 1)),
            "images_per_second": images_per_second,
        }
        folder.write_row(row)
        folder.save_model(plan.final_model, "last")
        if row["val_top1_error"] < float(self.best_error):
            self.best_error.assign(row["val_top1_error"])
            folder.save_model(plan.final_model, "best")
        with disk_errors(folder.path), replaced(folder.file(CURVES_FILE)) as path:
            plot_curves({plan.architecture.name: folder.rows()}, path)
        self._save_checkpoint()
        return row

    def _save_checkpoint(self) -> None:
        with disk_errors(self.folder.path):
            self.checkpoints.save(checkpoint_number=self.step)
        self.saved_at = time.monotonic()

    def _checkpoint_is_due(self) -> bool:
        minutes = (time.monotonic() - self.saved_at) / 60
        return minutes >= self.plan.config.checkpoint_minutes

    def _last_row(self) -> dict[str, float]:
        rows = self.folder.rows()
        if not rows:
            raise RunError(f"{self.folder.path!r} has lost its metrics.csv.")
        return rows[-1]

    def _announce(self) -> None:
        plan = self.plan
        print(
            f"{plan.architecture.name} on {plan.source.name}: "
            f"{plan.train_split.size} training and {plan.eval_split.size} evaluation "
            f"examples, {len(plan.source.class_names)} classes, "
            f"{plan.model.count_params():,} parameters; "
            f"{plan.strategy.num_replicas_in_sync} replica(s), "
            f"XLA {'on' if plan.xla else 'off'}. Run folder: {self.folder.path}"
        )
        if self.step >= plan.total_steps:
            print(f"Already at step {self.step} of {plan.total_steps}: nothing to do.")
        elif self.step:
            print(f"Resuming at step {self.step} of {plan.total_steps}.")

    def _callbacks(self) -> keras.callbacks.CallbackList:
        log_dir = self.folder.file("tensorboard")
        return keras.callbacks.CallbackList(
            [ScalarSummaries(log_dir)],
            add_progbar=True,
            model=self.plan.model,
            epochs=self.plan.config.epochs,
            steps=self.plan.steps_per_epoch,
            verbose=1,
        )
