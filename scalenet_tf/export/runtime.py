"""Exported models, run by what servers and devices have: neither Keras nor weights."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scalenet_tf.export.formats import FORMATS, ExportFormat, find_exported
from scalenet_tf.export.inputs import ImageInput, as_floats, file_input
from scalenet_tf.export.interface import (
    DEFAULT,
    SCORES,
    ExportError,
    Function,
)
from scalenet_tf.export.metadata import METADATA_FILE, check_metadata, transform_of
from scalenet_tf.files import unreadable
from scalenet_tf.preprocessing import EvaluationTransform


@dataclasses.dataclass(frozen=True)
class Exported:
    """An exported model, ready to run.

    Attributes:
        metadata: What was kept with it, as `read_metadata` gives it.
        functions: Its functions by name, see `interface.FormatModule.load`.
        bound: Largest error that counts as equal; `None` where it is not bounded.
        source: How messages name it.
    """

    metadata: Mapping[str, Any]
    functions: Mapping[str, Function]
    bound: float | None = None
    source: str = "the model"

    @property
    def transform(self) -> EvaluationTransform:
        """What evaluation does to an image."""
        return transform_of(self.metadata)

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes, in the order of the logits."""
        return self.metadata["class_names"]

    @property
    def temperature(self) -> float:
        """What the model divides its logits by for its probabilities."""
        return self.metadata.get("temperature", 1.0)  # absent in older versions

    @property
    def takes_pixels(self) -> bool:
        """Whether `run` takes pixels from 0 to 255, uint8, and not normalised ones."""
        return self.metadata.get("input_type") == "uint8"

    @property
    def input(self) -> ImageInput:
        """What `run` takes."""
        return file_input(self.metadata, self.transform)

    def run(self, images: np.ndarray, output: str = "logits") -> np.ndarray:
        """An output of images as the file takes them.

        Args:
            images: `(batch, size, size, 3)`.
            output: `"logits"` or `"probabilities"`, `(batch, classes)`.

        Raises:
            ValueError: They are of another shape or type, or have values that no image
                has; there is no such output; or, as an ExportError, the model cannot
                be run.
        """
        if output not in SCORES:
            raise ValueError(f"`output` must be one of {SCORES}. Received: {output!r}.")
        images = self.input.check(images)
        with unreadable(f"{self.source} cannot be run", ExportError):
            values = np.asarray(self.functions[DEFAULT](images)[output])
        expected = (len(images), len(self.class_names))
        if values.shape != expected:
            raise ExportError(
                f"{self.source} must give {output} of shape {expected}, by the images "
                f"and the class names of its {METADATA_FILE}. Received: "
                f"{values.shape}."
            )
        return values

    def logits(self, images: Any) -> np.ndarray:
        """Logits of images as `preprocess_input` leaves them; see `outputs`."""
        return self.outputs(images, "logits")

    def outputs(self, images: Any, output: str) -> np.ndarray:
        """An output of images as `preprocess_input` leaves them, whatever `run` takes.

        Args:
            images: `(batch, size, size, 3)`, of a floating type.
            output: `"logits"` or `"probabilities"`.

        Raises:
            ValueError: They are not: another shape, whole numbers, NaN, or values far
                from those that `preprocess_input` leaves, as of pixels.
        """
        values = self.transform.value_range
        wanted = dataclasses.replace(self.input, dtype="float32", values=values)
        images = wanted.check(as_floats(images))
        if self.takes_pixels:
            images = np.round(self.transform.pixels(images)).astype(np.uint8)
        return self.run(images, output)


def open_exported(
    path: str | os.PathLike[str],
    threads: int | None = None,
    formats: Sequence[ExportFormat] = FORMATS,
) -> Exported:
    """Opens what was exported: a SavedModel's folder, a .tflite or an .onnx file.

    A SavedModel is run by its signature `serving_default`. A TFLite file takes one
    image at a time, so that a batch of 16 is 16 runs.

    Args:
        path: The folder or file, or a folder of numbered SavedModels, of which the
            highest is opened.
        threads: Threads of LiteRT or onnxruntime; by default one for each core that the
            process may use. TensorFlow's are set by `tf.config.threading`.
        formats: The formats that are known.

    Raises:
        FileNotFoundError: There is no such file or folder.
        MissingPackageError: The runtime is not installed.
        ExportError: It was not exported by this package.
    """
    entry, path = _found(path, formats)
    content = _metadata(entry, path)
    threads = threads or available_cores()
    with unreadable(f"{path!r} is damaged, or not {entry.form}", ExportError):
        functions = entry.loaded.load(path, threads)
        return Exported(content, functions, entry.bound(content), repr(path))


def available_cores() -> int:
    """Cores that this process may use; all of them where the system does not tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_metadata(
    path: str | os.PathLike[str], formats: Sequence[ExportFormat] = FORMATS
) -> dict[str, Any]:
    """Reads what was kept with an exported model.

    Args:
        path: As for `open_exported`.
        formats: The formats that are known.

    Returns:
        `name`, `image_size`, `resize`, `normalization`, `mean`, `standard_deviation`,
        `class_names`, `temperature`, and entries of the format.

    Raises:
        FileNotFoundError: There is no such file or folder.
        MissingPackageError: An ONNX file needs onnx, which is not installed.
        ExportError: It was not exported by this package.
    """
    return _metadata(*_found(path, formats))


def _found(
    path: str | os.PathLike[str], formats: Sequence[ExportFormat]
) -> tuple[ExportFormat, str]:
    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"no exported model at {path!r}.")
    found = find_exported(path, formats)
    if found is None:
        forms = ", ".join(entry.form for entry in formats)
        raise ExportError(
            f"{path!r} was not exported by scalenet_tf: it is none of {forms}."
        )
    return found


def _metadata(entry: ExportFormat, path: str) -> dict[str, Any]:
    with unreadable(
        f"{path!r} was not exported by scalenet_tf, or is damaged: no {METADATA_FILE} "
        "in it can be read",
        ExportError,
    ):
        return check_metadata(entry.loaded.read_metadata(path))
