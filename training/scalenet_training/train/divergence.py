"""The errors of a run that has diverged."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping

from scalenet_training.errors import RunError
from scalenet_training.runs.run_folder import RunFolder


class NotFiniteError(RunError):
    """The loss of a network is NaN or infinite, so its error rates mean nothing."""


class DivergedError(RunError):
    """A run has diverged; the arguments are what happened, and what may help."""

    def __str__(self) -> str:
        return ". ".join(self.args)


def check_loss(result: Mapping[str, float], network: str) -> None:
    """Checks that the loss of an evaluation is finite.

    It is not if any logit of any example is NaN or infinite.

    Args:
        result: Mean over the examples, under the key `loss`.
        network: Name of what was evaluated, for the message.

    Raises:
        NotFiniteError: The loss is NaN or infinite.
    """
    if not math.isfinite(result["loss"]):
        raise NotFiniteError(
            f"{network} gives a loss of {result['loss']}: its logits are NaN or "
            "infinite, so that it has no error rate. Its training has diverged: take "
            "an earlier state, or train it again with a lower learning rate."
        )


def diverged(what: str, rate: float, good: str | None) -> DivergedError:
    """The error that ends a run.

    Args:
        what: What is not finite, and when: `"the loss became NaN at step 3 of 9"`.
        rate: Learning rate of that step.
        good: Path of the last checkpoint from which training gave finite numbers, if
            there is one.
    """
    saved = f"The last good checkpoint is {good!r}" if good else "No checkpoint is good"
    return DivergedError(
        f"{what}, at learning rate {rate:.4g}",
        f"This state was not saved. {saved}. "
        "A lower `learning_rate`, a longer `warmup_epochs` or `clip_norm` may help, in "
        "another `workdir`.",
    )


@contextlib.contextmanager
def noted_divergence(folder: RunFolder, chief: bool) -> Iterator[None]:
    """Notes in the folder of a run that it has diverged, where it does in the block."""
    try:
        yield
    except DivergedError as error:
        if chief:
            with contextlib.suppress(RunError):  # a full disk is not what ended it
                folder.note_divergence(str(error))
        raise
