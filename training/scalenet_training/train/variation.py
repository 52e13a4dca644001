"""From settings to how examples are drawn and mixed, and to their loss."""

from __future__ import annotations

import numpy as np

from scalenet_training.data.pixels.mixing import MIXES, Mixing
from scalenet_training.data.sampling import Sampling
from scalenet_training.data.splits import Split
from scalenet_training.errors import SettingError
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.step import Loss


def sampling_of(config: TrainConfig) -> Sampling:
    """How examples are drawn."""
    return Sampling(config.repeats, config.balance == "sampling")


def mixing_of(config: TrainConfig) -> Mixing:
    """How images are mixed."""
    alphas = {name: getattr(config, name) for name in MIXES}
    return Mixing(alphas, config.switch_probability)


def loss_of(config: TrainConfig, split: Split, classes: int) -> Loss:
    """The loss of an example; the split is that of training."""
    weights = ()
    if config.balance == "weights":
        labels = _labels(split)
        assert labels is not None
        weights = tuple(class_weights(labels, classes).tolist())
    return Loss(config.loss, config.label_smoothing, config.loss_threshold, weights)


def class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Inverse frequencies, with a mean of 1 over the examples; 0 without examples."""
    counts = np.bincount(labels, minlength=classes)
    present = np.count_nonzero(counts)
    return np.where(counts > 0, len(labels) / (present * np.maximum(counts, 1)), 0.0)


def check_drawing(config: TrainConfig, split: Split) -> None:
    """Checks that examples can be drawn as the settings say.

    Raises:
        SettingError: The copies of an example fill more than a batch, or the labels
            are not known before the run.
    """
    if config.repeats > config.batch_size:
        raise SettingError(
            f"`repeats` must be at most `batch_size`, {config.batch_size}. "
            f"Received: {config.repeats}."
        )
    if config.balance != "none" and _labels(split) is None:
        raise SettingError(
            f"`balance` {config.balance} needs the labels before the run, which "
            "`dataset` has not: it is too large for memory and streamed. "
            f"Received: {config.dataset!r}."
        )


def check_pairs(config: TrainConfig, replicas: int) -> None:
    """Raises SettingError where a replica has an image without partner to mix with."""
    named = [f"`{name}`" for name in MIXES if getattr(config, name)]
    if named and config.batch_size // replicas % 2:
        raise SettingError(
            f"`batch_size` must be even for each of the replicas, {replicas}, since "
            f"{' and '.join(named)} mix pairs of images. Received: "
            f"{config.batch_size}."
        )


def _labels(split: Split) -> np.ndarray | None:
    return getattr(split, "labels", None)
