"""Which classes are taken for which."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import confusion_matrix

from scalenet_training.evaluate.report.predictions import Predictions


class Confusion(NamedTuple):
    """How often a class was taken for another.

    Attributes:
        true: The given class.
        predicted: What it was taken for.
        examples: How many.
        rate: The same as a fraction of the examples of the given class.
    """

    true: int
    predicted: int
    examples: int
    rate: float


def confusion_counts(predictions: Predictions) -> np.ndarray:
    """Examples by given class (rows) and predicted class (columns)."""
    classes = np.arange(predictions.logits.shape[1])
    return confusion_matrix(predictions.labels, predictions.predicted, labels=classes)


def rates(counts: np.ndarray) -> np.ndarray:
    """The rows as fractions; zeros for a class without examples."""
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def neighbouring(counts: np.ndarray) -> np.ndarray:
    """An order of the classes in which those that are confused are neighbours.

    That of the leaves of a hierarchical clustering (average linkage) of the matrix of
    rates, made symmetric. Where nothing is confused, it is that of the classes.
    """
    number = len(counts)
    if number < 3:
        return np.arange(number)
    share = rates(counts)
    likeness = (share + share.T) / 2
    np.fill_diagonal(likeness, 0)
    places = np.arange(number)
    # Less than what one example of a million changes: it decides between equal ones.
    distances = likeness.max() - likeness
    distances += 1e-7 * np.abs(places[:, None] - places) / number
    np.fill_diagonal(distances, 0)
    condensed = squareform(distances, checks=False)
    tree = linkage(condensed, "average", optimal_ordering=True)
    order = leaves_list(tree)
    return order if order[0] < order[-1] else order[::-1]


def most_confused(counts: np.ndarray, most: int) -> list[Confusion]:
    """The pairs that are confused most often, the most frequent first."""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    share = rates(counts)
    return [
        Confusion(int(t), int(p), int(wrong[t, p]), float(share[t, p]))
        for t, p in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[t, p]
    ]
