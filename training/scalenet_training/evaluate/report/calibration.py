"""Whether probabilities are what they say, and the temperature that mends them.

Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from scalenet_training.evaluate.report.predictions import Predictions

BINS = 15
COLDEST, HOTTEST = 0.01, 100.0
_ROWS = 8192  # of the logits that are worked on at a time


@dataclasses.dataclass(frozen=True)
class Reliability:
    """Confidence and accuracy in bins of equal width, `(bins,)`.

    Attributes:
        counts: Examples of each bin.
        confidence: Mean probability of the predicted class; 0 in an empty bin.
        accuracy: Fraction of right answers; 0 in an empty bin.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap, weighted by examples."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.average(gaps, weights=self.counts))


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The probabilities as they are, and at the temperature that fits best.

    Attributes:
        before: As they are.
        temperature: By which logits are to be divided; None where there is no best one.
        after: At the temperature; None without one.
        nll_after: Mean negative log-likelihood at the temperature; None without one.
    """

    before: Reliability
    temperature: float | None = None
    after: Reliability | None = None
    nll_after: float | None = None


def calibrate(predictions: Predictions) -> Calibration:
    """Fits a temperature to the predictions, and says what it changes."""
    logits, labels, right = predictions.logits, predictions.labels, predictions.right
    before = reliability(predictions.probability, right)
    temperature = fit_temperature(logits, labels)
    if temperature is None:
        return Calibration(before)
    return Calibration(
        before,
        temperature,
        reliability(confidences(logits, temperature), right),
        negative_log_likelihood(logits, labels, temperature),
    )


def reliability(
    confidence: np.ndarray, right: np.ndarray, bins: int = BINS
) -> Reliability:
    """Sorts examples into the bins (0, 1/bins], (1/bins, 2/bins] and so on.

    Args:
        confidence: Probability of the predicted class of each example.
        right: Whether it is the given class.
        bins: Number of bins.
    """
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.searchsorted(edges, confidence, "left") - 1, 0, bins - 1)
    counts, sums, rights = (
        np.bincount(places, weights, bins) for weights in (None, confidence, right)
    )
    filled = np.maximum(counts, 1)
    return Reliability(counts, sums / filled, rights / filled)


def negative_log_likelihood(
    logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0
) -> float:
    """Mean over the examples, of the logits divided by the temperature."""
    total = 0.0
    for own in _parts(len(labels)):
        scaled = logits[own].astype(np.float64) / temperature
        right = np.take_along_axis(scaled, labels[own, None], 1)[:, 0]
        total += np.sum(logsumexp(scaled, axis=1) - right)
    return float(total / len(labels))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float | None:
    """The temperature of the lowest negative log-likelihood.

    Args:
        logits: `(examples, classes)`; a shift of a row does not matter.
        labels: The given classes.

    Returns:
        The temperature; None where there is no minimum from `COLDEST` to `HOTTEST`, as
        where every answer is right: the colder, the better.
    """
    if np.array_equal(logits.argmax(1), labels):  # found as 0 for all that are cold
        return None
    bounds = np.log([COLDEST, HOTTEST])
    found = minimize_scalar(  # convex in 1/temperature, so that there is one minimum
        lambda log: negative_log_likelihood(logits, labels, np.exp(log)),
        bounds=bounds,
        method="bounded",
        options={"xatol": 1e-4},
    )
    inside = np.abs(bounds - found.x).min() > 1e-3
    return float(np.exp(found.x)) if inside else None


def confidences(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probability of the likeliest class of each example, at a temperature."""
    found = np.zeros(len(logits))
    for own in _parts(len(logits)):
        scaled = logits[own].astype(np.float64) / temperature
        found[own] = np.exp(scaled.max(1) - logsumexp(scaled, axis=1))
    return found


def _parts(rows: int) -> Iterator[slice]:
    for start in range(0, rows, _ROWS):
        yield slice(start, start + _ROWS)
