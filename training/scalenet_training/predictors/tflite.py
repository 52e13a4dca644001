"""A TFLite file of this package, which says what its model must be given."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from scalenet_tf.export import read_metadata
from scalenet_tf.export.metadata import transform_of
from scalenet_tf.export.runtime import signature_runner
from scalenet_training.predict_config import PredictConfig
from scalenet_training.predictors.local import TransformingPredictor


def open_predictor(config: PredictConfig) -> TransformingPredictor:
    """Loads the file into the LiteRT interpreter.

    Raises:
        ImportError: ai-edge-litert is not installed.
        ValueError: The file was not exported by this package.
    """
    content = read_metadata(config.model)
    transform = transform_of(content)
    runner = signature_runner(config.model)

    def pixels(crops: tf.Tensor) -> np.ndarray:
        return np.round(crops.numpy()).astype(np.uint8)

    def normalized(crops: tf.Tensor) -> np.ndarray:
        return transform.normalize(crops).numpy().astype(np.float32)

    prepare = {"uint8": pixels, "float32": normalized}[content["input_type"]]

    def run(crops: tf.Tensor) -> np.ndarray:
        # The file is for one image at a time.
        rows = [runner(images=x[np.newaxis]) for x in prepare(crops)]
        return np.concatenate([row["probabilities"] for row in rows])

    return TransformingPredictor(transform, content["class_names"], run)
