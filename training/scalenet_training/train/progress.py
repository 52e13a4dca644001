"""What a run says while it trains: its first lines, its progress, its speed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from scalenet_tf.profiling import count_parameters
from scalenet_training.data.batches import Batch
from scalenet_training.devices.processor import lacks_instructions, processor_flags
from scalenet_training.runs.files import disk_errors
from scalenet_training.runs.metrics import BEST_COLUMNS, worth_telling
from scalenet_training.runs.position import Position
from scalenet_training.runs.run_folder import TENSORBOARD, RunFolder
from scalenet_training.settings.training import TrainConfig
from scalenet_training.tracking.epochs import ForwardedEpochs
from scalenet_training.train.plan import Plan

# Times the training loss, above which the first validation loss is explained.
_LAG = 2.0


def announcement(plan: Plan, folder: RunFolder, position: Position) -> str:
    """What is trained, where, and from which step: one line for each."""
    placement, config = plan.placement, plan.config
    if not placement.chief:
        return f"Worker {placement.worker} of {placement.workers}."
    lines = [
        f"{plan.architecture.name} on {plan.source.name}: "
        f"{plan.train_split.size} training and {plan.eval_split.size} evaluation "
        f"examples, {len(plan.source.class_names)} classes, "
        f"{count_parameters(plan.learner.model):,} parameters; "
        f"{placement.describe()}, XLA {'on' if plan.xla else 'off'}. "
        f"Run folder: {folder.path}"
    ]
    freezes = config.freeze or config.freeze_epochs > 0
    if not position.step and (config.weights or freezes):
        lines.append(f"Start: {plan.describe_start()}.")
    flags = processor_flags() if placement.device == "CPU" else frozenset()
    if lacks_instructions(config.mixed_precision, flags):
        lines.append(
            f"This processor has no instructions for {config.mixed_precision}: a step "
            "may take several times as long as with --mixed-precision off."
        )
    if not position.finished:
        lines += [f"warning: {doubt}" for doubt in doubts(plan)]
    step = f"step {position.step} of {plan.total_steps}"
    if position.finished and position.step < plan.total_steps:
        more = "A larger --early-stopping goes on."
        lines.append(f"Stopped early at {step}: nothing to do. {more}")
    elif position.finished:
        lines.append(f"Already at {step}: nothing to do.")
    elif position.step:
        lines.append(f"Resuming at {step}.")
    return "\n".join(lines)


def doubts(plan: Plan) -> list[str]:
    """What a run can be trained with and is hardly meant, a sentence each."""
    config, found = plan.config, []
    seen = plan.trained_on
    if seen:
        found.append(
            f"{seen:,} of the {plan.eval_split.size:,} evaluation examples are trained "
            "on, so that the validation error says little about new images. Give "
            "--train-split and --eval-split that have none in common."
        )
    if not config.weights and (config.freeze or config.freeze_epochs):
        option = "--freeze" if config.freeze else "--freeze-epochs"
        found.append(
            f"{option} without --weights keeps a network that was drawn at random."
        )
    if 1 < config.epochs <= config.warmup_epochs:  # a single one is to try things
        found.append(
            f"the learning rate rises for {config.warmup_epochs:g} epochs and does not "
            f"fall again within the {config.epochs} that are trained. Give a smaller "
            "--warmup-epochs."
        )
    return found


def waiting_message(waiting: float) -> str:
    """What to say where a part of an epoch's time went into waiting for batches."""
    return (
        f"The epoch waited for images {waiting:.0%} of its time: they are read and "
        f"decoded on {os.cpu_count()} CPU cores, more slowly than the network takes "
        "them."
    )


def lag_message(row: Mapping[str, float], config: TrainConfig) -> str:
    """What to say of a first epoch whose validation is far worse than its training."""
    # Evaluation always has the loss of the softmax.
    if config.loss != "softmax" or row["val_loss"] <= _LAG * row["loss"]:
        return ""
    return (
        "Validation is far worse than training after this first epoch: the running "
        "statistics of batch norm, which evaluation uses, lag behind weights that "
        "change fast. Later epochs change them less."
    )


def stopping_message(config: TrainConfig) -> str:
    """What to say where a run ends by `early_stopping`."""
    column = BEST_COLUMNS[config.best]
    return (
        f"Stopped early: no lower {column} in {config.early_stopping} epochs. A larger "
        "--early-stopping goes on."
    )


def make_callbacks(
    plan: Plan, summaries: ScalarSummaries
) -> keras.callbacks.CallbackList:
    """A progress bar, and logs for TensorBoard and a tracker; in the chief alone."""
    chief, people = plan.placement.chief, sys.stdout.isatty()
    own: list[keras.callbacks.Callback] = []
    if chief:
        own = [summaries, Pace(), *([] if people else [LogLines()])]
        own.append(ForwardedEpochs(plan.tracking))
    return keras.callbacks.CallbackList(
        own,
        add_progbar=chief,
        model=plan.learner.model,
        epochs=plan.config.epochs,
        steps=plan.steps_per_epoch,
        # A bar redrawn at each step is for people; a log gets a line per epoch.
        verbose=1 if people else 2,
    )


class Pace(keras.callbacks.Callback):
    """Prints once how long the rest of a run takes, if that is more than a minute.

    By its second epoch: the first one is traced.
    """

    def __init__(self) -> None:
        super().__init__()
        self._begins: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Prints it before the third epoch of this process."""
        self._begins.append(time.perf_counter())
        if len(self._begins) != 3:
            return
        left = self.params["epochs"] - epoch
        seconds = left * (self._begins[2] - self._begins[1])
        if seconds > 60:
            print(f"At this pace, {left} more epochs: {duration(seconds)}.", flush=True)


class LogLines(keras.callbacks.Callback):
    """Prints a line now and then within an epoch, for logs: how far it is.

    Args:
        seconds: Between two lines.
    """

    def __init__(self, seconds: float = 60.0):
        super().__init__()
        self._seconds = seconds

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts anew."""
        self._epoch = epoch
        self._began = self._last = time.perf_counter()
        self._before: int | None = None
        self._known: dict[str, Any] = {}

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Prints a line if it is time for one."""
        self._known = logs or self._known
        now = time.perf_counter()
        if self._before is None:  # the first step compiles
            self._before, self._began = batch, now
        if now - self._last < self._seconds:
            return
        self._last = now
        done, steps = batch - self._before, self.params["steps"]
        parts = [f"Epoch {self._epoch + 1}/{self.params['epochs']}"]
        parts += [f"step {batch + 1} of {steps}"]
        if "loss" in self._known:
            parts.append(f"loss {self._known['loss']:.4f}")
        if done:
            left = (now - self._began) / done * (steps - batch - 1)
            parts.append(f"{duration(left)} left in the epoch")
        print(", ".join(parts), flush=True)


def duration(seconds: float) -> str:
    """A time in words, such as `2 h 5 min`, `3 min` or `20 s`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class ScalarSummaries(keras.callbacks.Callback):
    """Writes each epoch's numbers for TensorBoard, while the run lasts.

    Keras' own callback asks for a compiled model, whose optimizer would then be
    saved with it.

    Raises:
        RunError: The log cannot be written.
    """

    def __init__(self, folder: RunFolder):
        super().__init__()
        self.folder = folder
        self.log_dir = folder.file(TENSORBOARD)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Opens the log."""
        with disk_errors(self.log_dir):
            self.writer = tf.summary.create_file_writer(self.log_dir)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Closes the log."""
        with disk_errors(self.log_dir):
            self.writer.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Writes an epoch's numbers, before the checkpoint that ends it.

        A process that is killed between the two writes them again. TensorBoard draws
        a point that is there twice once.
        """
        told = worth_telling(row, self.model.output_shape[-1])
        with disk_errors(self.log_dir), self.writer.as_default(step=row["epoch"]):
            for name, value in told.items():
                if name != "epoch":
                    tf.summary.scalar(name, value)
            self.writer.flush()


# Above it, a run says that the images do not come as fast as the network takes them.
MOST_WAITING = 0.1


class Timer:
    """Images per second, without the first step of several, which compiles."""

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        self._began = time.perf_counter()
        self._steps = 0
        self._after_first = self._began
        self._waited = 0.0

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches; counts the time until each of them is there."""
        iterator = iter(batches)
        while True:
            began = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            if self._steps > 0:
                self._waited += time.perf_counter() - began
            yield batch

    @property
    def waiting(self) -> float:
        """Part of the time so far that went into waiting for batches."""
        passed = time.perf_counter() - self._after_first
        return self._waited / passed if self._steps > 1 else 0.0

    def step_done(self, result: tf.Variable) -> None:
        """Counts a step, whose sums are in `result`."""
        self._steps += 1
        if self._steps == 1:
            result.numpy()  # waits for the devices
            self._after_first = time.perf_counter()

    def images_per_second(self, result: tf.Variable) -> float:
        """The speed so far, when `result` holds the last step's sums."""
        if self._steps == 0:
            return float("nan")
        result.numpy()
        now = time.perf_counter()
        if self._steps == 1:
            return self._batch_size / (now - self._began)
        return (self._steps - 1) * self._batch_size / (now - self._after_first)
