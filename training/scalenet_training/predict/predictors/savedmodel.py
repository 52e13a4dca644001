"""A SavedModel of this package, run by TensorFlow alone."""

from __future__ import annotations

import os
from collections.abc import Sequence

import tensorflow as tf

from scalenet_tf.export import read_metadata
from scalenet_tf.export.runtime import load_saved_model
from scalenet_tf.serving import InvalidImageError, Prediction
from scalenet_tf.serving.errors import refused
from scalenet_tf.serving.messages import INVALID
from scalenet_training.errors import RunError
from scalenet_training.predict.config import PredictConfig
from scalenet_training.predict.predictors.local import ranked, without_invalid
from scalenet_training.predict.predictors.places import savedmodel_folder

_SIGNATURE = "serving_bytes"


class SavedModelPredictor:
    """Asks the signature that takes encoded images."""

    def __init__(self, folder: str):
        self._folder = folder
        self._class_names = read_metadata(folder)["class_names"]
        # The functions live as long as the object that was loaded.
        self._loaded = load_saved_model(folder)

    def predict(self, images: Sequence[bytes], top_k: int) -> list[Prediction]:
        """A prediction for each encoded image; not `valid` where it is none."""
        return without_invalid(lambda batch: self._predict(batch, top_k), images)

    def _predict(self, images: Sequence[bytes], top_k: int) -> list[Prediction]:
        run = self._loaded.signatures[_SIGNATURE]
        try:
            outputs = run(image_bytes=tf.constant(images, tf.string))
        except tf.errors.InvalidArgumentError as error:
            refusal = refused(self._folder, error.message)
            if isinstance(refusal, InvalidImageError):
                raise refusal from error
            raise RunError(str(refusal)) from error
        except tf.errors.OpError as error:
            raise RunError(f"{self._folder}: {error.message}") from error
        rows = outputs["probabilities"].numpy()
        valid = outputs.get("valid", tf.ones(len(images), tf.bool)).numpy()
        return [
            ranked(row, self._class_names, top_k) if good else INVALID
            for row, good in zip(rows, valid, strict=True)
        ]

    def __enter__(self) -> SavedModelPredictor:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def open_predictor(config: PredictConfig) -> SavedModelPredictor:
    """Loads the folder, or the highest version in it.

    Raises:
        OSError: It cannot be read.
        ValueError: It was not exported by this package.
    """
    return SavedModelPredictor(os.fspath(savedmodel_folder(config.model)))
