"""Epochs of training and evaluation, with checkpoints: one loop for all strategies."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from scalenet_training.cli.output import OutputError
from scalenet_training.data.augmentation import AUGMENTATIONS, Augmentation
from scalenet_training.data.batches import Batch
from scalenet_training.data.errors import data_errors
from scalenet_training.devices.cluster import is_chief
from scalenet_training.devices.placement import lost_workers
from scalenet_training.errors import InterruptedRunError, RunError
from scalenet_training.invocation import typed
from scalenet_training.runs.figures import Data, plot_curves
from scalenet_training.runs.files import replacing
from scalenet_training.runs.locking import locked_folder
from scalenet_training.runs.metrics import worth_telling
from scalenet_training.runs.run_data import check_outside
from scalenet_training.runs.run_folder import CURVES_FILE, RunFolder
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.divergence import (
    NotFiniteError,
    noted_divergence,
)
from scalenet_training.train.evaluation import Evaluator
from scalenet_training.train.interruption import StoppedError, StopRequest
from scalenet_training.train.outcome import check_outcome
from scalenet_training.train.plan import Plan, prepare
from scalenet_training.train.progress import (
    MOST_WAITING,
    ScalarSummaries,
    Timer,
    announcement,
    lag_message,
    make_callbacks,
    stopping_message,
    waiting_message,
)
from scalenet_training.train.state import RunState
from scalenet_training.train.step import (
    Step,
    StepReport,
    make_statistics_step,
    make_train_step,
    means,
)

# The progress bar reads numbers of the current step: not at every step, since the host
# waits for the devices then.
_STEPS_BETWEEN_LOGS = 20


def train_and_evaluate(
    config: TrainConfig,
    workdir: str,
    check: Callable[[Plan], None] | None = None,
    augmentations: Mapping[str, Augmentation] = AUGMENTATIONS,
    index_folder: str | None = None,
) -> dict[str, float]:
    """Trains as the settings say, in `workdir`; resumes the run that is there.

    Every worker of a cluster calls this with the same settings and a folder that all
    of them see; only the chief writes.

    Args:
        config: The settings.
        workdir: Folder of the run.
        check: Called before anything is written; may raise UsageError.
        augmentations: The table that has the settings' augmentation.
        index_folder: Folder whose index of the images is used. Default: `workdir`.

    Returns:
        The last row of metrics.csv.

    Raises:
        UsageError: The settings cannot be run, or another process trains in the
            folder; nothing was written.
        InterruptedRunError: A signal came; the run was saved.
        OutputError: Stdout takes no more; the run was saved.
        RunError: The run began and could not go on.
    """
    folder = RunFolder(workdir)
    check_outside(folder.path, config.dataset, config.data_dir)
    with contextlib.ExitStack() as stack:
        # Before the checks, so that what they find stays so.
        lock = None
        if is_chief(os.environ, config.strategy):
            lock = stack.enter_context(locked_folder(folder.path, "`workdir`"))
        folder.check(config)
        plan = prepare(
            config,
            index_folder or workdir,
            augmentations,
            resumes=bool(folder.checkpoint_numbers()),
        )
        if not folder.has_record:
            check_outcome(config, len(plan.source.class_names))
        if check is not None:
            check(plan)
        plan.data.check(folder)
        folder.check_lasting(plan.record())
        if lock is not None:  # the checks took a while
            lock.check()
        # TensorFlow's strategy of several workers takes SIGTERM for itself until here.
        with (
            StopRequest() as stop,
            lost_workers(plan.placement),
            noted_divergence(folder, plan.placement.chief),
            plan.tracking.of(folder),
        ):
            return Trainer(plan, folder, stop).run()


class Trainer:
    """A run in progress: trains its epochs, evaluates and saves after each of them."""

    def __init__(self, plan: Plan, folder: RunFolder, stop: StopRequest):
        self.plan = plan
        self.folder = folder
        self.chief = plan.placement.chief
        self.stop = stop
        self.state = RunState(plan, folder)
        self.report: StepReport | None = None
        self.told_of_waiting = False
        self.train_step = self._new_train_step()
        self.summaries = ScalarSummaries(folder)
        self.statistics_step = make_statistics_step(
            plan.final_model, plan.placement.strategy, plan.xla
        )
        self.evaluator = Evaluator(
            plan.final_model,
            plan.eval_split,
            plan.transform,
            plan.config.batch_size,
            plan.placement,
            plan.xla,
        )

    def run(self) -> dict[str, float]:
        """Goes on from the newest checkpoint to the end; returns the last row."""
        self.state.restore()
        if self.chief:
            self._take_epoch()  # of a process that was killed while it did
        self.state.check_same_step("restored")
        print(announcement(self.plan, self.folder, self.state.position))
        if self.state.position.finished:
            return self._last_row()
        if self.chief:
            print(self.plan.data.table)
            self.folder.remove_leftovers()
            self.state.checkpoints.remove_leftovers()
            self.folder.drop_rows(self.state.position.epoch)
            self.folder.write_record(self.plan.record())
            self.plan.data.write(self.folder)
            compiled = " and compiled" if self.plan.xla else ""
            print(f"The first step takes longer: it is traced{compiled}.", flush=True)
        try:
            row = self._run_epochs()
        except StoppedError:
            raise self._interrupted() from None
        except OutputError:
            self._save_unheard()
            raise
        # Nobody leaves before the chief has written: it would seem dead to the others.
        self.state.check_same_step("finished")
        return row

    def _run_epochs(self) -> dict[str, float]:
        callbacks = make_callbacks(self.plan, self.summaries)
        callbacks.on_train_begin()
        row: dict[str, float] = {}
        while not self.state.position.finished:
            epoch = self.state.position.epoch
            self._begin_late(epoch)
            # The last of them, where the run ends within the epoch.
            steps = self.state.position.batches.stop
            callbacks.set_params({**callbacks.params, "steps": steps})
            callbacks.on_epoch_begin(epoch)
            images_per_second = self._train_epoch(epoch, callbacks)
            row = self._finish_epoch(epoch, images_per_second)
            told = {name: row[name] for name in row if name != "epoch"}
            callbacks.on_epoch_end(epoch, self._worth_telling(told))
            lag = lag_message(row, self.plan.config) if epoch == 0 else ""
            if lag and self.chief:
                print(lag, flush=True)
        callbacks.on_train_end()
        if self.chief and self.state.step < self.plan.total_steps:
            print(stopping_message(self.plan.config), flush=True)
        return row

    def _new_train_step(self) -> Step:
        plan = self.plan
        return make_train_step(
            plan.learner, plan.objective, plan.placement.strategy, plan.xla
        )

    def _begin_late(self, epoch: int) -> None:
        """Lets all layers train, once the epochs of the classifier alone are over."""
        learner = self.plan.learner
        if not learner.waits or epoch < self.plan.config.freeze_epochs:
            return
        learner.begin_late()
        self.train_step = self._new_train_step()
        if self.chief:
            print(f"From epoch {epoch + 1} on all layers train.", flush=True)

    def _train_epoch(
        self, epoch: int, callbacks: keras.callbacks.CallbackList
    ) -> float:
        """Trains to the epoch's end, or the run's; returns images per second."""
        plan, indices = self.plan, self.state.position.batches
        expected = self.state.step + len(indices)
        if indices.start == 0:
            self.state.totals.assign(tf.zeros_like(self.state.totals))
        timer = Timer(plan.config.batch_size)
        with data_errors(plan.train_split):
            batches = timer.timed(plan.training_batches(epoch, indices.start))
            for index, batch in zip(indices, batches, strict=False):
                callbacks.on_train_batch_begin(index)
                report = self._dispatch(batch)
                timer.step_done(self.state.totals)
                last = index + 1 == indices.stop
                log = (index + 1) % _STEPS_BETWEEN_LOGS == 0 or last
                logs = means(self.state.totals.numpy()) if log else {}
                callbacks.on_train_batch_end(index, self._worth_telling(logs))
                self._stop_or_save(report, last)
        if self.state.step != expected:
            raise RunError(
                f"`train_split` gave fewer than its {plan.train_split.size} examples: "
                "the dataset changed while it was read."
            )
        speed = timer.images_per_second(self.state.totals)
        if timer.waiting > MOST_WAITING and self.chief and not self.told_of_waiting:
            print(waiting_message(timer.waiting))
            self.told_of_waiting = True
        return speed

    def _worth_telling(self, values: Mapping[str, float]) -> dict[str, float]:
        return worth_telling(values, self.plan.transform.classes)

    def _dispatch(self, batch: Batch) -> StepReport:
        """Starts a step, whose report it returns, and reads that of the one before.

        The host is a step ahead at most, so that a signal does not wait for many.
        """
        before, report = self.report, self.train_step(batch, self.stop.came)
        self.report = report
        self.state.step += 1
        self.state.totals.assign_add(report.sums)
        if before is not None:
            self.state.check_step(before, self.state.step - 1)
        return report

    def _stop_or_save(self, report: StepReport, last: bool) -> None:
        """Between two steps: stops if that is wanted, saves if it is due."""
        together = self.plan.placement.workers > 1
        # Several workers stop, or fail, at the step in which all know of it.
        stop = report.stops.numpy() > 0 if together else self.stop.came
        if together or stop or last or self.state.checkpoint_is_due():
            self.state.check_step(report, self.state.step)
        if stop:
            raise StoppedError
        due = not last and self.state.checkpoint_is_due()
        if due and self.state.problem is None:
            self.state.save(confirmed=False)

    def _finish_epoch(self, epoch: int, images_per_second: float) -> dict[str, float]:
        """Evaluates and saves."""
        whole = self.state.step % self.plan.steps_per_epoch == 0
        self._average(epoch, whole)
        evaluation = self._evaluate(epoch)
        row = {
            "epoch": epoch,
            **means(self.state.totals.numpy()),
            **{f"val_{name}": value for name, value in evaluation.items()},
            "learning_rate": float(self.plan.schedule(self.state.step - 1)),
            "images_per_second": images_per_second,
        }
        improved = self.state.outcome.improved(row, whole)
        self.state.evaluated_step.assign(self.state.step)
        if self.chief:
            self._save(row, improved)
        return row

    def _average(self, epoch: int, whole: bool) -> None:
        """Averages over epochs, if the run does; estimates the average's statistics."""
        most = self.plan.config.swa_batches
        if not self.state.outcome.average(epoch, whole) or most == 0:
            return
        self.state.check()
        with data_errors(self.plan.train_split):
            batches = self.plan.training_batches(epoch, as_evaluated=True)
            for number, batch in zip(range(1, most + 1), batches, strict=False):
                if self.statistics_step(batch, number, self.stop.came):
                    raise StoppedError

    def _evaluate(self, epoch: int) -> dict[str, float]:
        self.state.check()
        try:
            return self.evaluator.run(stop=self.stop)
        except NotFiniteError:
            what = f"the evaluation of epoch {epoch + 1} gave a loss of NaN or infinity"
            raise self.state.diverged(what, self.state.step) from None

    def _save(self, row: dict[str, float], improved: bool) -> None:
        """Saves an epoch's end so that a kill loses all of it or nothing."""
        self.folder.save_epoch(self.state.step, self.plan.final_model, row, improved)
        self.summaries.write(row)
        self.state.save(confirmed=True)
        self._take_epoch()

    def _take_epoch(self) -> None:
        """Puts the files of the epoch in their place that the checkpoint ends."""
        evaluated = int(self.state.evaluated_step)
        if self.state.step != evaluated or not self.folder.take_epoch(evaluated):
            return
        with replacing(self.folder.file(CURVES_FILE)) as path:
            about = str(Data.of(self.folder.read_record()))
            curves = {self.plan.architecture.name: self.folder.curve()}
            plot_curves(curves, path, about)
        self.folder.forget_epoch(evaluated)

    def _interrupted(self) -> InterruptedRunError:
        received = self.stop.signal or signal.SIGTERM
        by = f"by {received.name}" if self.stop.came else "with another worker"
        self.state.check()
        self.state.save(confirmed=False)
        # A scheduler may end all workers when the first of them ends.
        self.state.check_same_step("saved")
        return InterruptedRunError(
            f"stopped {by} after step {self.state.step} of {self.plan.total_steps}, "
            f"which was saved. To resume: {shlex.join(typed())}",
            received,
        )

    def _save_unheard(self) -> None:
        """Saves, where the output has ended and with it the run."""
        if self.report is None or self.state.saved:
            return
        self.state.check_step(self.report, self.state.step)
        self.state.check()
        self.state.save(confirmed=False)

    def _last_row(self) -> dict[str, float]:
        rows = self.folder.rows()
        if not rows:
            raise RunError(f"{self.folder.path!r} has lost its metrics.csv.")
        return rows[-1]
