"""Learning rates over a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


class RecipeSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to the peak, then cosine to zero or a tenth at each milestone.

    Args:
        peak: Learning rate after the warm-up.
        total_steps: Steps of the run.
        warmup_steps: Steps in which the rate rises; step i has (i + 1) / warmup_steps.
        kind: `"cosine"` or `"steps"`.
        milestones: For `"steps"`: fractions of the run at which the rate falls.
    """

    def __init__(
        self,
        peak: float,
        total_steps: int,
        warmup_steps: int,
        kind: str,
        milestones: Sequence[float] = (),
    ):
        self.peak = peak
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.kind = kind
        self.milestones = tuple(milestones)

    def __call__(self, step: Any) -> tf.Tensor:
        """Learning rate of a step, counted from 0."""
        step = tf.cast(step, keras.config.floatx())
        if self.kind == "cosine":
            rest = max(1, self.total_steps - self.warmup_steps)
            progress = tf.clip_by_value((step - self.warmup_steps) / rest, 0.0, 1.0)
            rate = self.peak * 0.5 * (1.0 + tf.cos(math.pi * progress))
        else:
            points = [fraction * self.total_steps for fraction in self.milestones]
            passed = sum(tf.cast(step >= point, step.dtype) for point in points)
            rate = self.peak * 0.1**passed
        warm = self.peak * (step + 1.0) / max(1, self.warmup_steps)
        return tf.where(step < self.warmup_steps, warm, rate)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "peak": self.peak,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "kind": self.kind,
            "milestones": list(self.milestones),
        }
