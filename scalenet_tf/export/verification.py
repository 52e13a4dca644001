"""Exported models, run without Keras, against the Keras model they were made of."""

from __future__ import annotations

import dataclasses
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import keras
import numpy as np
import tensorflow as tf

from scalenet_tf.export.checking import ends_in_softmax, head_of
from scalenet_tf.export.classifier import Classifier
from scalenet_tf.export.formats import FORMATS, ExportFormat
from scalenet_tf.export.interface import (
    DEFAULT,
    ExportError,
)
from scalenet_tf.export.requests import Requests, requests
from scalenet_tf.export.runtime import open_exported
from scalenet_tf.finite import describe_not_finite

# Largest error that counts as equal, by kind. Where there is none, a format rounds by
# design: look at the agreement.
BOUNDS: Mapping[str, float | None] = MappingProxyType(
    {kind: bound for entry in FORMATS for kind, bound in entry.bounds.items()}
)
# What the agreement must be for a format without a bound to be trusted, and on how many
# images: with fewer of them chance decides.
LEAST_AGREEMENT = 0.8
_ENOUGH_IMAGES = 16
_CHUNK = 16  # images that are in memory at the same time


@dataclasses.dataclass(frozen=True)
class Verification:
    """How an exported model compares with its Keras model.

    Attributes:
        errors: Signature -> largest difference of a logit (of a feature, for the
            signature `features`) over the largest logit (feature), or of a probability
            from that of the exported model's own logits, where that is larger.
        agreement: Fraction of the images with the same likeliest class.
        images: Number of images.
        bound: Largest error that counts as equal; `None` where it is not bounded.
    """

    errors: Mapping[str, float]
    agreement: float
    images: int
    bound: float | None

    @property
    def error(self) -> float:
        """The largest error of a signature."""
        return max(self.errors.values())

    @property
    def passed(self) -> bool:
        """Whether every error is a number and within the bound."""
        bound = math.inf if self.bound is None else self.bound
        return all(e <= bound and math.isfinite(e) for e in self.errors.values())

    @property
    def doubtful(self) -> bool:
        """Whether a format that rounds by design is further off than rounding explains.

        An error as large as the largest logit, or an agreement below `LEAST_AGREEMENT`
        on 16 images or more.
        """
        low = self.agreement < LEAST_AGREEMENT and self.images >= _ENOUGH_IMAGES
        return self.bound is None and (low or self.error >= 1)


def verify(
    model: keras.Model,
    path: str | os.PathLike[str],
    images: Sequence[bytes],
    formats: Sequence[ExportFormat] = FORMATS,
) -> Verification:
    """Runs every function of an exported model by its runtime, and compares.

    Args:
        model: The Keras model that was exported.
        path: What was written of it.
        images: Encoded images.
        formats: The formats that are known.

    Returns:
        The comparison; the bound holds for models that compute in 32 bits or more.

    Raises:
        FileNotFoundError: There is no such file or folder.
        MissingPackageError: The runtime is not installed.
        ExportError: There are no images, one cannot be decoded, the model gives NaN or
            infinity, or this is not an export.
    """
    exported = open_exported(path, formats=formats)
    transform = exported.transform
    comparison = _Comparison(model, exported.bound, exported.temperature)
    for chunk in _chunks(images):
        batches = requests(chunk, transform)
        if exported.takes_pixels:
            pixels = batches["serving_uint8"].values
            seen = transform.normalize(pixels).numpy()
            batches[DEFAULT] = Requests("images", pixels, seen)
        for name, function in exported.functions.items():
            comparison.add(name, batches[name], function(batches[name].values))
    return comparison.result()


# The names that 0.1.0 had, one for each format.
verify_savedmodel = verify_tflite = verify_onnx = verify


class _Comparison:
    """Differences from a Keras model, gathered over chunks of images."""

    def __init__(self, model: keras.Model, bound: float | None, temperature: float):
        self._expected = Classifier(model, fold=False)
        self._head = None if ends_in_softmax(model) else head_of(model)
        in_16_bits = any("16" in str(layer.compute_dtype) for layer in model.layers)
        self._bound = None if in_16_bits else bound
        self._temperature = temperature
        self._off: dict[str, float] = defaultdict(float)  # probabilities
        self._difference: dict[str, float] = defaultdict(float)
        self._largest: dict[str, float] = defaultdict(float)
        self._agrees: dict[str, list[bool]] = defaultdict(list)

    def add(
        self, signature: str, batch: Requests, outputs: Mapping[str, np.ndarray]
    ) -> None:
        key = "features" if signature == "features" else "logits"
        expected = self._expected(tf.constant(batch.network_input))[key].numpy()
        wrong = describe_not_finite(expected)
        if wrong is not None:
            raise ExportError(
                f"`model` must give finite {key}. Received: {wrong[0]} of "
                f"{expected.size} are {wrong[1]}."
            )
        actual = np.asarray(outputs[key])
        self._difference[signature] = np.maximum(  # which keeps what is no number
            self._difference[signature], np.abs(actual - expected).max()
        )
        self._largest[signature] = max(
            self._largest[signature], np.abs(expected).max(), np.finfo(float).tiny
        )
        if key == "logits":
            self._agrees[signature] += list(actual.argmax(1) == expected.argmax(1))
            if "probabilities" in outputs:
                if self._head is None:
                    wanted = softmax_of(actual, self._temperature)
                else:
                    wanted = self._head(actual).numpy()
                off = np.abs(np.asarray(outputs["probabilities"]) - wanted).max()
                self._off[signature] = np.maximum(self._off[signature], off)

    def result(self) -> Verification:
        errors = {
            signature: float(
                np.maximum(difference / self._largest[signature], self._off[signature])
            )
            for signature, difference in self._difference.items()
        }
        agrees = list(self._agrees.values())
        return Verification(errors, float(np.mean(agrees)), len(agrees[0]), self._bound)


def softmax_of(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities `(batch, classes)` of logits that are divided by a temperature."""
    scaled = logits.astype(np.float64) / temperature
    with np.errstate(invalid="ignore"):  # of infinities, which are told of elsewhere
        exponentials = np.exp(scaled - scaled.max(1, keepdims=True))
        return exponentials / exponentials.sum(1, keepdims=True)


def _chunks(images: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    if not images:
        raise ExportError("`images` must have an image or more. Received none.")
    for start in range(0, len(images), _CHUNK):
        yield images[start : start + _CHUNK]
