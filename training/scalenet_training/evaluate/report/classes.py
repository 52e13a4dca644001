"""Precision, recall and F1 of each class, and their averages."""

from __future__ import annotations

import dataclasses

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from scalenet_training.evaluate.report.predictions import Predictions


@dataclasses.dataclass(frozen=True)
class ClassFigures:
    """Figures of merit of each class, `(classes,)`, NaN where they are undefined.

    Attributes:
        precision: Right answers among the examples that were taken for the class.
        recall: Right answers among the examples of the class.
        f1: Harmonic mean of the two.
        support: Examples of the class.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


def class_figures(predictions: Predictions) -> ClassFigures:
    """The figures of all classes, also those without examples."""
    return ClassFigures(
        *precision_recall_fscore_support(
            predictions.labels,
            predictions.predicted,
            labels=np.arange(predictions.logits.shape[1]),
            zero_division=np.nan,
        )
    )


def macro_averages(predictions: Predictions) -> dict[str, float]:
    """Means over the classes that have examples.

    The precision of a class that is never predicted counts as 0.
    """
    precision, recall, f1, _ = precision_recall_fscore_support(
        predictions.labels,
        predictions.predicted,
        labels=np.unique(predictions.labels),
        average="macro",
        zero_division=0.0,
    )
    return {"precision": float(precision), "recall": float(recall), "f1": float(f1)}
