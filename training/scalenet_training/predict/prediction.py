"""Predictions for files: which files, and how the answers are printed.

Imports no TensorFlow by itself, so that bad input is answered at once.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from scalenet_training.errors import RunError, UsageError
from scalenet_training.predict.config import PredictConfig
from scalenet_training.text import printable

if TYPE_CHECKING:
    from scalenet_tf.export import ExportFormat
    from scalenet_tf.serving import Prediction


def predict_files(
    config: PredictConfig, formats: Sequence[ExportFormat] | None = None
) -> dict[str, Prediction]:
    """Predicts for every image, in the order in which they were named.

    Args:
        config: Which images, which model.
        formats: The formats of exported models that are known; `None`: the package's.

    Returns:
        Path -> prediction; it is not `valid` for files that are no images.

    Raises:
        UsageError: The images or the model cannot be had.
        RunError: A file cannot be read, a server does not answer as it should, or a
            probability is NaN or infinite.
    """
    files = image_files(config.images)

    from scalenet_training.bars import Bar
    from scalenet_training.predict.predictors import open_predictor

    results: dict[str, Prediction] = {}
    with (
        open_predictor(config, formats) as predictor,
        Bar(total=len(files), unit=" images") as bar,
    ):
        for batch in _batches(files, config.batch_size):
            images = [_read(path) for path in batch]
            predictions = predictor.predict(images, config.top_k)
            results |= dict(zip(batch, predictions, strict=True))
            _check_finite(results, batch, config.model)
            bar.update(len(batch))
    return results


def image_files(paths: Sequence[str]) -> list[str]:
    """The files among paths, and those in the folders among them; each once.

    Raises:
        UsageError: There is no such file or folder, or no image in a folder.
    """
    if not paths:
        raise UsageError("IMAGES must be one file or folder or more. Received: none.")
    files: dict[str, None] = {}
    for path in paths:
        found = sorted(_walk(path)) if os.path.isdir(path) else [path]
        if not found:
            raise UsageError(
                f"IMAGES: there is no {', '.join(_extensions())} file in {path!r}."
            )
        if not os.path.exists(found[0]):
            raise UsageError(f"IMAGES: there is no file or folder {path!r}.")
        files |= dict.fromkeys(found)
    return list(files)


def undecodable(results: Mapping[str, Prediction]) -> list[str]:
    """The files without a prediction, each with the reason.

    Raises:
        RunError: A file cannot be read.
    """
    from scalenet_tf.decoding import why_undecodable

    return [
        f"{path} ({why_undecodable(_read(path))})"
        for path, prediction in results.items()
        if not prediction.valid
    ]


def as_table(results: Mapping[str, Prediction]) -> str:
    """The predictions as lines: file, rank, name, probability."""
    rows = [("file", "rank", "name", "probability")]
    for path, prediction in results.items():
        ranked = zip(prediction.names, prediction.probabilities, strict=True)
        for rank, (name, probability) in enumerate(ranked, start=1):
            cells = printable(path), str(rank), printable(name), f"{probability:.6f}"
            rows.append(cells)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{path:<{widths[0]}}  {rank:>4}  {name:<{widths[2]}}  {probability}".rstrip()
        for path, rank, name, probability in rows
    )


def as_json(results: Mapping[str, Prediction]) -> str:
    """The predictions as a list with an object a file."""
    return json.dumps(
        [
            {
                "file": path,
                "valid": prediction.valid,
                "predictions": [
                    {"class": number, "name": name, "probability": probability}
                    for number, name, probability in zip(
                        prediction.classes,
                        prediction.names,
                        prediction.probabilities,
                        strict=True,
                    )
                ],
            }
            for path, prediction in results.items()
        ],
        indent=1,
    )


def _extensions() -> tuple[str, ...]:
    from scalenet_tf.decoding import EXTENSIONS

    return EXTENSIONS


def _walk(folder: str) -> Iterator[str]:
    extensions = _extensions()
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.lower().endswith(extensions) and not name.startswith("."):
                yield os.path.join(parent, name)


def _batches(files: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(files), size):
        yield files[start : start + size]


def _check_finite(
    results: Mapping[str, Prediction], batch: Sequence[str], model: str
) -> None:
    for path in batch:
        if not all(map(math.isfinite, results[path].probabilities)):
            raise RunError(
                f"`model` {model!r} gives probabilities that are NaN or infinite, for "
                f"{path!r}: it names no class. Its training has diverged."
            )


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise RunError(f"cannot read {path!r}: {error.strerror}.") from error
