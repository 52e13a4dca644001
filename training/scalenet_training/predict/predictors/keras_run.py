"""A Keras model in the folder of a run, which says what the model must be given."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

import scalenet_tf
from scalenet_tf.export.classifier import Classifier, check_classifier
from scalenet_tf.preprocessing import EvaluationTransform
from scalenet_training.predict.config import PredictConfig
from scalenet_training.predict.predictors.local import TransformingPredictor
from scalenet_training.predict.predictors.places import run_and_model
from scalenet_training.runs.run_folder import RunFolder


def open_predictor(config: PredictConfig) -> TransformingPredictor:
    """Loads the model.

    Raises:
        ValueError: It is not what the run's config.json says, or has weights that are
            NaN or infinite, or negative variances.
    """
    folder, file = run_and_model(config.model)
    record = RunFolder(folder).read_record()
    transform = EvaluationTransform(
        record.image_size, record.eval_resize, record.config.normalization
    )
    model = scalenet_tf.load_model(file, compile=False)
    check_classifier(model, transform, record.class_names)
    classifier = Classifier(model, fold=False)

    def run(crops: tf.Tensor) -> np.ndarray:
        return classifier(transform.normalize(crops))["probabilities"].numpy()

    return TransformingPredictor(transform, record.class_names, run)
