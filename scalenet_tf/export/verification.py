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

from scalenet_tf.export.classifier import Classifier
from scalenet_tf.export.metadata import read_metadata, transform_of
from scalenet_tf.export.requests import Requests, requests
from scalenet_tf.export.runtime import (
    Exported,
    load_saved_model,
    open_exported,
)
from scalenet_tf.finite import describe_not_finite

# Largest error that counts as equal, by format. Where there is none, a format rounds
# by design: look at the agreement.
BOUNDS: Mapping[str, float | None] = MappingProxyType(
    {
        "savedmodel": 1e-5,
        "onnx": 1e-5,
        "none": 1e-5,
        "float16": 5e-3,
        "dynamic": None,
        "int8": None,
    }
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
            signature `features`) over the largest logit (feature).
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


def verify_savedmodel(
    model: keras.Model, directory: str | os.PathLike[str], images: Sequence[bytes]
) -> Verification:
    """Runs every signature of a SavedModel by TensorFlow alone and compares.

    Args:
        model: The Keras model that was exported.
        directory: What `save_savedmodel` wrote.
        images: Encoded images.

    Returns:
        The comparison; the bound holds for models that compute in 32 bits or more.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: There are no images, one cannot be decoded, the model gives NaN or
            infinity, or the folder is not that of an export.
    """
    transform = transform_of(read_metadata(directory))
    loaded = load_saved_model(directory)
    comparison = _Comparison(model, "savedmodel")
    for chunk in _chunks(images):
        for signature, batch in requests(chunk, transform).items():
            run = loaded.signatures[signature]
            outputs = run(**{batch.input_name: tf.constant(batch.values)})
            comparison.add(signature, batch, outputs)
    return comparison.result()


def verify_tflite(
    model: keras.Model, path: str | os.PathLike[str], images: Sequence[bytes]
) -> Verification:
    """Runs a TFLite file by the LiteRT interpreter and compares.

    Args:
        model: The Keras model that was converted.
        path: What `convert_tflite` wrote.
        images: Encoded images.

    Returns:
        The comparison; the bound holds for models that compute in 32 bits or more.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: ai-edge-litert is not installed.
        ValueError: There are no images, one cannot be decoded, the model gives NaN or
            infinity, or the file is not that of an export.
    """
    exported = open_exported(path)
    return _verify_file(model, exported, exported.metadata["quantization"], images)


def verify_onnx(
    model: keras.Model, path: str | os.PathLike[str], images: Sequence[bytes]
) -> Verification:
    """Runs an ONNX file by onnxruntime, on the CPU, and compares.

    Args:
        model: The Keras model that was converted.
        path: What `convert_onnx` wrote.
        images: Encoded images.

    Returns:
        The comparison; the bound holds for models that compute in 32 bits or more.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: onnx or onnxruntime is not installed.
        ValueError: There are no images, one cannot be decoded, the model gives NaN or
            infinity, or the file is not that of an export.
    """
    return _verify_file(model, open_exported(path), "onnx", images)


def _verify_file(
    model: keras.Model, exported: Exported, kind: str, images: Sequence[bytes]
) -> Verification:
    comparison = _Comparison(model, kind)
    transform = exported.transform
    for chunk in _chunks(images):
        by_signature = requests(chunk, transform)
        batch = by_signature["serving_default"]
        if exported.takes_pixels:
            pixels = by_signature["serving_uint8"].values
            batch = Requests("images", pixels, transform.normalize(pixels).numpy())
        logits = exported.run(batch.values)
        comparison.add("serving_default", batch, {"logits": logits})
    return comparison.result()


class _Comparison:
    """Differences from a Keras model, gathered over chunks of images."""

    def __init__(self, model: keras.Model, kind: str):
        self._expected = Classifier(model, fold=False)
        in_16_bits = any("16" in str(layer.compute_dtype) for layer in model.layers)
        self._bound = None if in_16_bits else BOUNDS[kind]
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
            raise ValueError(
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

    def result(self) -> Verification:
        errors = {
            signature: float(difference / self._largest[signature])
            for signature, difference in self._difference.items()
        }
        agrees = list(self._agrees.values())
        return Verification(errors, float(np.mean(agrees)), len(agrees[0]), self._bound)


def _chunks(images: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    if not images:
        raise ValueError("`images` must have an image or more. Received none.")
    for start in range(0, len(images), _CHUNK):
        yield images[start : start + _CHUNK]
