"""What is evaluated, on what: for whoever watches an evaluation."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import keras
import numpy as np

from scalenet_tf.preprocessing import EvaluationTransform
from scalenet_training.data.source import Source
from scalenet_training.data.splits import IndexedSplit, Split


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model and the examples that it is evaluated on.

    Attributes:
        name: The model, as it was named.
        source: The dataset.
        split_name: The split's name.
        split: Its examples.
        transform: From an image to the model's input.
        model: The network; None for an export, which has no gradients.
        run: Folder of the run that saved the network; None for others.
        temperature: By which its logits are divided before they are shown.
        trained_on: How many of the examples it was trained on; None where that is not
            known.
        digest: SHA-256 of the network's file; None for an export.
    """

    name: str
    source: Source
    split_name: str
    split: Split
    transform: EvaluationTransform
    model: keras.Model | None = None
    run: str | None = None
    temperature: float = 1.0
    trained_on: int | None = None
    digest: str | None = None

    def example_names(self) -> list[str]:
        """Names of files in the dataset's folder; else numbers in the split."""
        if self.source.images is None or not isinstance(self.split, IndexedSplit):
            return [str(number) for number in range(self.split.size)]
        files = self.source.images.files
        return [files[number].name for number in self.split.indices]


class Observer(Protocol):
    """Is shown every example of an evaluation, in the order of its split."""

    def begin(self, subject: Subject) -> None:
        """Called once, before the first batch."""
        ...

    def see(self, images: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> None:
        """Called for some examples: images as the model takes them."""
        ...
