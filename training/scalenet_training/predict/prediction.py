"""Predictions for files, batch by batch.

Imports no TensorFlow by itself, so that bad input is answered at once.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence

from scalenet_tf.decoding.headers import why_undecodable
from scalenet_tf.export.formats import ExportFormat
from scalenet_tf.serving.messages import Prediction
from scalenet_training.bars import Bar
from scalenet_training.errors import RunError
from scalenet_training.predict.answers import Answer
from scalenet_training.predict.config import PredictConfig
from scalenet_training.predict.images import ImageFile, image_files
from scalenet_training.predict.predictors import Predictor, open_predictor


def predict_files(
    config: PredictConfig, formats: Sequence[ExportFormat] | None = None
) -> dict[str, Prediction]:
    """Predicts for every image, in the order in which they were named.

    Args:
        config: Which images, which model.
        formats: The formats of exported models that are known; `None`: the package's.

    Returns:
        Path -> prediction; it is not `valid` for files that are no images or cannot be
        read.

    Raises:
        UsageError: The images or the model cannot be had.
        RunError: A server does not answer as it should, or a probability is NaN or
            infinite.
    """
    files = image_files(config.images)
    with open_predictor(config, formats) as predictor:
        return {a.file: a.prediction for a in answers(files, predictor, config)}


def answers(
    files: Sequence[ImageFile], predictor: Predictor, config: PredictConfig
) -> Iterator[Answer]:
    """The answers for files, in their order, under a progress bar.

    Raises:
        UsageError, RunError: As for `predict_files`.
    """
    classes = predictor.class_names or ()
    with Bar(total=len(files), unit=" images") as bar:
        for start in range(0, len(files), config.batch_size):
            batch = files[start : start + config.batch_size]
            found = answered(batch, predictor, config)
            for file, answer in zip(batch, found, strict=True):
                known = file.folder in classes
                yield dataclasses.replace(answer, true=file.folder if known else None)
            bar.update(len(batch))


def answered(
    files: Sequence[ImageFile], predictor: Predictor, config: PredictConfig
) -> Iterator[Answer]:
    """The answers for one batch of files, in their order.

    Raises:
        UsageError: The model cannot be asked for this.
        RunError: A server does not answer, or a probability is NaN or infinite.
    """
    read: dict[int, bytes] = {}
    errors: dict[int, str] = {}
    for place, file in enumerate(files):
        try:
            read[place] = file.read()
        except RunError as error:
            errors[place] = str(error).rstrip(".")
    paths = [files[place].path for place in read]
    found = iter(_predicted(paths, list(read.values()), predictor, config))
    for place, file in enumerate(files):
        reason = errors.get(place)
        yield next(found) if reason is None else Answer(file.path, error=reason)


def _predicted(
    paths: Sequence[str],
    images: Sequence[bytes],
    predictor: Predictor,
    config: PredictConfig,
) -> list[Answer]:
    """The answers for encoded images."""
    found = []
    predictions = predictor.predict(images, config.top_k) if images else []
    for path, data, prediction in zip(paths, images, predictions, strict=True):
        if not all(map(math.isfinite, prediction.probabilities)):
            raise RunError(
                f"`model` {config.model!r} gives probabilities that are NaN or "
                f"infinite, for {path!r}: it names no class. Its training has diverged."
            )
        error = None if prediction.valid else why_undecodable(data)
        found.append(Answer(path, prediction, error))
    return found


class Summary:
    """Counts answers: how many were right, how many came in a second.

    Attributes:
        undecodable: Path and reason of each file that is no image or cannot be read.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._images = self._labelled = self._right = self._near = 0
        self.undecodable: list[str] = []

    def add(self, answer: Answer) -> None:
        """Counts an answer."""
        self._images += 1
        if not answer.prediction.valid:
            self.undecodable.append(f"{answer.file} ({answer.error})")
        elif answer.true is not None:
            names = answer.prediction.names
            self._labelled += 1
            self._right += names[0] == answer.true
            self._near += answer.true in names

    def accuracy(self, top_k: int) -> str | None:
        """How many were right by their folders' names; `None` where these are none."""
        if not self._labelled:
            return None
        right, near = (n / self._labelled for n in (self._right, self._near))
        text = f"{self._right:,} of {self._labelled:,} images right by their folders"
        higher = f", top-{top_k} {near:.2%}" if top_k > 1 else ""
        return f"{text}: top-1 accuracy {right:.2%}{higher}"

    def speed(self) -> str:
        """How many images in how many seconds."""
        seconds = time.monotonic() - self._began
        images = f"{self._images:,} image{'s' if self._images != 1 else ''}"
        return f"{images} in {seconds:.1f} s: {self._images / seconds:.1f} images/s"
