"""A TFLite or ONNX file of this package, which says what its model must be given."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from scalenet_tf.export import open_exported
from scalenet_training.predict.config import PredictConfig
from scalenet_training.predict.predictors.local import TransformingPredictor


def open_predictor(config: PredictConfig) -> TransformingPredictor:
    """Loads the file into its runtime.

    Raises:
        ImportError: ai-edge-litert, or onnxruntime, is not installed.
        ValueError: The file was not exported by this package.
    """
    exported = open_exported(config.model)
    transform = exported.transform

    def run(crops: tf.Tensor) -> np.ndarray:
        if exported.takes_pixels:
            images = np.round(crops.numpy()).astype(np.uint8)
        else:
            images = transform.normalize(crops).numpy().astype(np.float32)
        return exported.run(images, "probabilities")

    class_names = exported.metadata["class_names"]
    return TransformingPredictor(transform, class_names, run)
