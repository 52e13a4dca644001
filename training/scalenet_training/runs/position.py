"""How far a run is. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Position:
    """A place between two steps of a run.

    Attributes:
        step: Steps that were made.
        evaluated: Whether the state after them was evaluated: the evaluation ends an
            epoch, or the run.
        steps_per_epoch: Steps in an epoch, 1 or more.
        total_steps: Steps after which the run ends, which may be within an epoch.
    """

    step: int
    evaluated: bool
    steps_per_epoch: int
    total_steps: int

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.step >= self.total_steps and self.evaluated

    @property
    def epoch(self) -> int:
        """The epoch to go on with, counted from 0."""
        # A step that ends an epoch and was not evaluated still belongs to it.
        done = self.step if self.evaluated else self.step - 1
        return max(0, done) // self.steps_per_epoch

    @property
    def batches(self) -> range:
        """The batches of the epoch that are left to train on, counted from 0."""
        before = self.epoch * self.steps_per_epoch
        start = self.step - before
        return range(
            start, max(start, min(self.steps_per_epoch, self.total_steps - before))
        )

    @property
    def code(self) -> int:
        """A number that no other position of the same run has, for other workers."""
        return 2 * self.step + self.evaluated


def steps_of_codes(codes: Iterable[float]) -> list[int]:
    """The steps of the positions that have these codes."""
    return [int(code) // 2 for code in codes]
