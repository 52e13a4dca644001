"""The state of a run in progress: how far it is, and what a checkpoint holds of it."""

from __future__ import annotations

import tensorflow as tf

from scalenet_tf.finite import first_not_finite
from scalenet_training.devices.placement import values_of_replicas
from scalenet_training.errors import RunError
from scalenet_training.runs.checkpoints import Checkpoints
from scalenet_training.runs.position import Position, steps_of_codes
from scalenet_training.runs.run_folder import CHECKPOINTS, RunFolder
from scalenet_training.train.divergence import diverged
from scalenet_training.train.outcome import Outcome
from scalenet_training.train.plan import Plan
from scalenet_training.train.step import SUMS, StepReport


class RunState:
    """What changes while a run goes on.

    All that a continuation needs is in its checkpoint: weights, optimizer, moving
    average, loss scale, the sums of the epoch so far, what the evaluations decided, and
    which step was evaluated last. The step says how far the run is in which epoch.

    Args:
        plan: What is trained.
        folder: Where the checkpoints are.

    Attributes:
        step: Updates started; a copy, since reading waits for the devices.
        totals: The sums of the epoch so far.
        outcome: What the evaluations decided.
        evaluated_step: The step after which the run was evaluated last.
    """

    def __init__(self, plan: Plan, folder: RunFolder):
        self.plan = plan
        self.step = 0
        self._saved_step = 0
        self.totals = tf.Variable(tf.zeros(SUMS, tf.float64), name="epoch_sums")
        self.outcome = Outcome(plan.config, plan.learner)
        self.evaluated_step = tf.Variable(0, dtype=tf.int64, name="evaluated_step")
        parts = {
            "average": plan.learner.average,
            "scale": plan.learner.loss_scale,
            "late_optimizer": plan.learner.late,
        }
        self.checkpoints = Checkpoints(
            folder.file(CHECKPOINTS),
            plan.config.checkpoints_kept,
            plan.placement.chief,
            model=plan.learner.model,
            optimizer=plan.learner.optimizer,
            totals=self.totals,
            evaluated_step=self.evaluated_step,
            **self.outcome.state,
            **{name: part for name, part in parts.items() if part is not None},
        )

    def restore(self) -> None:
        """Takes the newest checkpoint, if there is one.

        Raises:
            RunError: None of the checkpoints can be read.
            DivergedError: A number of it is NaN or infinite.
        """
        self.checkpoints.restore()
        self.step = int(self.plan.learner.optimizer.iterations.numpy())
        self._saved_step = self.step
        self.check()

    @property
    def position(self) -> Position:
        """How far the run is."""
        plan, evaluated = self.plan, int(self.evaluated_step) == self.step
        total = plan.total_steps
        if self.outcome.stopped_early:
            total = min(total, self.step)
        return Position(self.step, evaluated, plan.steps_per_epoch, total)

    @property
    def saved(self) -> bool:
        """Whether the newest checkpoint is of this step."""
        return self.step == self._saved_step

    @property
    def problem(self) -> str | None:
        """What of the network or its optimizer is NaN or infinite, if anything is."""
        return first_not_finite(self.plan.learner.variables)

    def check(self) -> None:
        """Checks that all numbers are finite.

        Raises:
            DivergedError: One is not. All workers have to check: the others would wait
                for one alone.
        """
        problem = self.problem
        if problem is not None:
            raise self.diverged(problem, self.step)

    def check_step(self, report: StepReport, step: int) -> None:
        """Checks what a step reported; the checkpoint before it is of use then.

        Raises:
            DivergedError: Its loss or gradient is NaN or infinite.
        """
        if report.diverged.numpy():
            what = "the loss or its gradient became NaN or infinite"
            raise self.diverged(what, step)
        if step > self._saved_step:
            self.checkpoints.confirm()

    def diverged(self, what: str, step: int) -> RunError:
        """The error of a run that has diverged: what is not finite, at which step."""
        rate = float(self.plan.schedule(step - 1))
        what = f"{what} at step {step} of {self.plan.total_steps}"
        return diverged(what, rate, self.checkpoints.good)

    def checkpoint_is_due(self) -> bool:
        """Whether the settings want a checkpoint after this step."""
        every = self.plan.config.checkpoint_steps
        by_steps = every > 0 and self.step % every == 0
        minutes = self.checkpoints.minutes_since_save()
        return by_steps or minutes >= self.plan.config.checkpoint_minutes

    def save(self, confirmed: bool) -> None:
        """Saves a checkpoint; `confirmed` says that it is known to be of use."""
        self.checkpoints.save(confirmed)
        self._saved_step = self.step

    def check_same_step(self, done: str) -> None:
        """Checks that all workers are at the same step; waits for all of them.

        Args:
            done: What the workers did, for the message.

        Raises:
            RunError: They are not.
        """
        placement = self.plan.placement
        if placement.workers == 1:
            return
        codes = values_of_replicas(placement, self.position.code)
        if len(set(codes)) > 1:
            listed = ", ".join(map(str, steps_of_codes(codes)))
            raise RunError(
                f"the workers have {done} different steps, by replica: {listed}. "
                "`workdir` has to be on a file system that all of them share."
            )
