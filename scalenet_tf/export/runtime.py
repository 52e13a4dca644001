"""Exported models, run by what servers and devices have: neither Keras nor weights."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from scalenet_tf.export.inputs import ImageInput, as_floats, file_input, largest_batch
from scalenet_tf.export.metadata import read_metadata, transform_of
from scalenet_tf.preprocessing import EvaluationTransform


class Run(Protocol):
    """A function of an exported model."""

    def __call__(self, images: np.ndarray, output: str = "logits") -> np.ndarray:
        """An output, by its name, of a batch as the file takes it."""


@dataclasses.dataclass(frozen=True)
class Exported:
    """An exported model, ready to run.

    Attributes:
        metadata: What was kept with it, as `read_metadata` gives it.
        run: From a batch of images as the file takes them, `(batch, size, size, 3)`,
            to its `"logits"`, by default, or `"probabilities"`, `(batch, classes)`.
            Another shape or type, or values that no image has, are a ValueError.
    """

    metadata: Mapping[str, Any]
    run: Run

    @property
    def transform(self) -> EvaluationTransform:
        """What evaluation does to an image."""
        return transform_of(self.metadata)

    @property
    def takes_pixels(self) -> bool:
        """Whether `run` takes pixels from 0 to 255, uint8, and not normalised ones."""
        return self.metadata.get("input_type") == "uint8"

    @property
    def input(self) -> ImageInput:
        """What `run` takes."""
        return file_input(self.metadata, self.transform)

    def logits(self, images: Any) -> np.ndarray:
        """Logits of images as `preprocess_input` leaves them, whatever the file takes.

        Args:
            images: `(batch, size, size, 3)`, of a floating type.

        Raises:
            ValueError: They are not: another shape, whole numbers, NaN, or values far
                from those that `preprocess_input` leaves, as of pixels.
        """
        values = self.transform.value_range
        wanted = dataclasses.replace(self.input, dtype="float32", values=values)
        images = wanted.check(as_floats(images))
        if self.takes_pixels:
            images = np.round(self.transform.pixels(images)).astype(np.uint8)
        return self.run(images)


def open_exported(path: str | os.PathLike[str], threads: int | None = None) -> Exported:
    """Opens what was exported: a SavedModel's folder, a .tflite or an .onnx file.

    A SavedModel is run by its signature `serving_default`. A TFLite file takes one
    image at a time, so that a batch of 16 is 16 runs.

    Args:
        path: The folder or file.
        threads: Threads of LiteRT or onnxruntime; by default one for each core that the
            process may use. TensorFlow's are set by `tf.config.threading`.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ImportError: The runtime is not installed.
        ValueError: It was not exported by this package.
    """
    path = os.fspath(path)
    content = read_metadata(path)
    threads = threads or len(os.sched_getaffinity(0))
    if os.path.isdir(path):
        run = _saved_model(path)
    elif path.endswith(".onnx"):
        run = _onnx(path, threads)
    else:
        run = _tflite(path, threads)
    wanted = file_input(content, transform_of(content))
    return Exported(
        content, lambda images, output="logits": run(wanted.check(images), output)
    )


def load_saved_model(path: str | os.PathLike[str]) -> Any:
    """Loads a SavedModel, without the warning that it has no gradients to train by."""
    with _errors_alone():
        return tf.saved_model.load(os.fspath(path))


@contextlib.contextmanager
def _errors_alone() -> Iterator[None]:
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _saved_model(path: str) -> Run:
    signature = load_saved_model(path).signatures["serving_default"]

    def run(images: np.ndarray, output: str = "logits") -> np.ndarray:
        most = largest_batch(*images.shape[1:3])
        parts = (images[at : at + most] for at in range(0, len(images), most))
        return np.concatenate(
            [signature(images=tf.constant(part))[output].numpy() for part in parts]
        )

    return run


def _tflite(path: str, threads: int) -> Run:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError(
            "running a TFLite file needs the package ai-edge-litert: "
            "pip install 'scalenet_tf[export]'."
        ) from error
    interpreter = Interpreter(path, num_threads=threads)
    run = interpreter.get_signature_runner("serving_default")

    def one_by_one(images: np.ndarray, output: str = "logits") -> np.ndarray:
        return np.concatenate([run(images=i[np.newaxis])[output] for i in images])

    return one_by_one


def _onnx(path: str, threads: int) -> Run:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "running an ONNX file needs the package onnxruntime: "
            "pip install 'scalenet_tf[onnx]'."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"]
    )
    return lambda images, output="logits": session.run([output], {"images": images})[0]
