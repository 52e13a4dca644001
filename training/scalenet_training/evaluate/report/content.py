"""All that a report says, computed; and the part of it that is report.json."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scalenet_training.bars import Bar
from scalenet_training.evaluate.report import classes, confusion
from scalenet_training.evaluate.report.calibration import BINS, Calibration, calibrate
from scalenet_training.evaluate.report.figures import Picture
from scalenet_training.evaluate.report.grad_cam import grad_cam, has_map
from scalenet_training.evaluate.report.predictions import Collector, Predictions
from scalenet_training.evaluate.report.suspects import LABEL, Suspect, suspects
from scalenet_training.evaluate.subject import Subject
from scalenet_training.runs.metrics import Curve, worth_telling
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.runs.versions import versions


@dataclasses.dataclass(frozen=True)
class Content:
    """All that a report says.

    Attributes:
        subject: What was evaluated.
        result: What the evaluation itself gives.
        created: Date and time, in ISO's form.
        examples: Name of each example.
        predictions: The answers.
        classes: Figures of merit of each class.
        macro: Their averages.
        counts: Examples by given class (rows) and predicted class (columns).
        order: Of the classes, in the matrix of confusions.
        calibration: Of the probabilities.
        suspects: Examples to look at.
        pictures: The worst errors.
        curve: Epochs of the run; without rows for others than runs.
    """

    subject: Subject
    result: Mapping[str, float]
    created: str
    examples: Sequence[str]
    predictions: Predictions
    classes: classes.ClassFigures
    macro: Mapping[str, float]
    counts: np.ndarray
    order: np.ndarray
    calibration: Calibration
    suspects: Sequence[Suspect]
    pictures: Sequence[Picture]
    curve: Curve

    @property
    def names(self) -> Sequence[str]:
        """Names of the classes."""
        return self.subject.source.class_names

    @property
    def accuracy(self) -> float:
        """Fraction of right answers."""
        return float(self.predictions.right.mean())


def content_of(collector: Collector, result: Mapping[str, float]) -> Content:
    """Computes all that a report says.

    Args:
        collector: That has observed the evaluation.
        result: What the evaluation gave.

    Raises:
        UsageError: The run's metrics.csv is damaged.
    """
    subject, predictions = collector.subject, collector.predictions
    curve = Curve([]) if subject.run is None else RunFolder(subject.run).curve()
    with Bar(total=3, unit="part", desc="computing the report") as bar:
        counts = confusion.confusion_counts(predictions)
        order = confusion.neighbouring(counts)
        bar.update()
        calibration = calibrate(predictions)
        bar.update()
        pictures = _pictures(collector)
        bar.update()
    return Content(
        subject=subject,
        result=result,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        examples=subject.example_names(),
        predictions=predictions,
        classes=classes.class_figures(predictions),
        macro=classes.macro_averages(predictions),
        counts=counts,
        order=order,
        calibration=calibration,
        suspects=suspects(predictions),
        pictures=pictures,
        curve=curve,
    )


def _pictures(collector: Collector) -> list[Picture]:
    subject, predictions = collector.subject, collector.predictions
    if not collector.errors:
        return []
    images = np.stack([error.image for error in collector.errors])
    numbers = [error.number for error in collector.errors]
    evidence: Sequence[np.ndarray | None] = [None] * len(images)
    if subject.model is not None and has_map(subject.model):
        evidence = [*grad_cam(subject.model, images, predictions.predicted[numbers])]
    names, examples = subject.source.class_names, subject.example_names()
    return [
        Picture(
            examples[number],
            np.round(subject.transform.pixels(image)).astype(np.uint8),
            names[predictions.labels[number]],
            names[predictions.predicted[number]],
            float(predictions.probability[number]),
            own,
        )
        for number, image, own in zip(numbers, images, evidence, strict=True)
    ]


def facts(content: Content) -> dict[str, Any]:
    """What report.json says."""
    subject, found = content.subject, content.calibration
    told = worth_telling(content.result, len(content.names))
    labels = sum(suspect.reason == LABEL for suspect in content.suspects)
    return {
        "model": subject.name,
        "dataset": subject.source.name,
        "eval_split": subject.split_name,
        "examples": len(content.examples),
        "trained_on": subject.trained_on,
        "network_sha256": subject.digest,
        "classes": len(content.names),
        "accuracy": content.accuracy,
        **{k: v for k, v in told.items() if k == "loss" or k.endswith("_error")},
        "macro": dict(content.macro),
        "calibration": {
            "bins": BINS,
            "ece": found.before.ece,
            "nll": content.result["loss"],
            "applied_temperature": subject.temperature,
            "temperature": found.temperature,
            "ece_at_temperature": None if found.after is None else found.after.ece,
            "nll_at_temperature": found.nll_after,
        },
        "suspects": {
            "labels": labels,
            "equal_pictures": len(content.suspects) - labels,
        },
        "created": content.created,
        "versions": versions(),
    }
