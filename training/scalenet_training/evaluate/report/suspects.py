"""Examples to look at: labels that may be wrong, pictures that occur twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scalenet_training.evaluate.report.predictions import Predictions

LABEL = "label"
EQUAL = "equal picture"
EQUAL_OTHER_CLASS = "equal picture of another class"


class Suspect(NamedTuple):
    """An example to look at.

    Attributes:
        number: Of the example.
        reason: `LABEL`, `EQUAL` or `EQUAL_OTHER_CLASS`.
        threshold: Of a label, the mean self-confidence of the predicted class.
        equal_to: Of a picture, the number of the first one that is equal.
    """

    number: int
    reason: str
    threshold: float | None = None
    equal_to: int | None = None


def suspects(predictions: Predictions) -> list[Suspect]:
    """All suspects: labels, the surest first; then pictures, in their order."""
    return [
        *suspicious_labels(predictions),
        *equal_pictures(predictions.digests, predictions.labels),
    ]


def suspicious_labels(predictions: Predictions) -> list[Suspect]:
    """Labels that the model contradicts with more than its usual confidence.

    The self-confidence of a class is the mean probability of it over the examples that
    are labelled with it. A label is suspicious where another class is the likeliest,
    with a probability of at least that class' self-confidence.

    Source: Northcutt et al., "Confident Learning: Estimating Uncertainty in Dataset
    Labels", JAIR 2021, equations 1 and 2, for the likeliest class.
    """
    classes = predictions.logits.shape[1]
    sums, counts = (
        np.bincount(predictions.labels, weights, classes)
        for weights in (predictions.true_probability, None)
    )
    # A class without examples has no self-confidence, which none reaches.
    own = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    thresholds = own[predictions.predicted]
    found = np.flatnonzero(~predictions.right & (predictions.probability >= thresholds))
    margins = (predictions.probability - predictions.true_probability)[found]
    return [
        Suspect(int(number), LABEL, threshold=float(thresholds[number]))
        for number in found[np.argsort(-margins, kind="stable")]
    ]


def equal_pictures(digests: Sequence[bytes], labels: np.ndarray) -> list[Suspect]:
    """Examples whose picture is, to the model, that of an earlier example."""
    first: dict[bytes, int] = {}
    found = []
    for number, digest in enumerate(digests):
        earlier = first.setdefault(digest, number)
        if earlier != number:
            same = labels[earlier] == labels[number]
            reason = EQUAL if same else EQUAL_OTHER_CLASS
            found.append(Suspect(number, reason, equal_to=earlier))
    return found
