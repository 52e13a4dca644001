"""What a model answers for every example, and the pictures it is most wrong about."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from scalenet_training.evaluate.subject import Subject

MOST_ERRORS = 24  # whose pictures are kept


class Error(NamedTuple):
    """A wrong answer.

    Attributes:
        number: Of the example.
        probability: Of the predicted class.
        image: As the model takes it, `(size, size, 3)`.
    """

    number: int
    probability: float
    image: np.ndarray


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Answers for all examples, in the order of the split.

    Attributes:
        labels: The given class of each example.
        logits: `(examples, classes)` float32.
        predicted: The likeliest class, of equally likely ones the first.
        probability: Of the predicted class, float64.
        true_probability: Of the given class.
        digests: Of the picture as the model takes it: equal ones have equal digests.
    """

    labels: np.ndarray
    logits: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray
    true_probability: np.ndarray
    digests: list[bytes]

    @property
    def right(self) -> np.ndarray:
        """Whether the predicted class is the given one."""
        return self.predicted == self.labels


class Collector:
    """Observes an evaluation.

    Of the pictures it keeps those of the `MOST_ERRORS` worst errors, of the answers all
    logits: 4 bytes for each example and class.

    Attributes:
        subject: What is evaluated.
        errors: Wrong answers with the highest probabilities, the highest first.
    """

    subject: Subject

    def __init__(self) -> None:
        self.errors: list[Error] = []

    def begin(self, subject: Subject) -> None:
        """Makes room for the answers."""
        self.subject = subject
        size, classes = subject.split.size, len(subject.source.class_names)
        self._predictions = Predictions(
            labels=np.zeros(size, np.int64),
            logits=np.zeros((size, classes), np.float32),
            predicted=np.zeros(size, np.int64),
            probability=np.zeros(size),
            true_probability=np.zeros(size),
            digests=[],
        )

    def see(self, images: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> None:
        """Keeps the answers for some examples, and the pictures of bad errors."""
        kept = self._predictions
        first, rows = len(kept.digests), np.arange(len(labels))
        own = slice(first, first + len(labels))
        probabilities = softmax(logits.astype(np.float64), axis=1)
        kept.labels[own] = labels
        kept.logits[own] = logits
        kept.predicted[own] = logits.argmax(1)
        kept.probability[own] = probabilities[rows, kept.predicted[own]]
        kept.true_probability[own] = probabilities[rows, labels]
        kept.digests.extend(map(_digest, images))
        self._keep_worst(images, first)

    def _keep_worst(self, images: np.ndarray, first: int) -> None:
        kept = self._predictions
        found = [
            Error(first + place, float(kept.probability[first + place]), image)
            for place, image in enumerate(images)
            if kept.predicted[first + place] != kept.labels[first + place]
        ]
        found += self.errors
        found.sort(key=lambda error: (-error.probability, error.number))
        # Copies, since a picture that is a part of its batch would keep all of it.
        self.errors = [
            error._replace(image=error.image.copy()) if error.number >= first else error
            for error in found[:MOST_ERRORS]
        ]

    @property
    def predictions(self) -> Predictions:
        """The answers, when the evaluation has ended."""
        return self._predictions


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()
