"""What the predictors of this process share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from scalenet_tf.decoding import decode_image
from scalenet_tf.preprocessing import EvaluationTransform
from scalenet_tf.serving import InvalidImageError, Prediction
from scalenet_tf.serving.messages import INVALID


def ranked(
    probabilities: np.ndarray, class_names: Sequence[str], top_k: int
) -> Prediction:
    """The likeliest classes of an image, of equally likely ones the first.

    Probabilities that are no numbers come before all others, where they are seen.
    """
    likely = np.where(np.isfinite(probabilities), probabilities, np.inf)
    order = np.argsort(-likely, kind="stable")[:top_k]
    return Prediction(
        tuple(class_names[index] for index in order),
        tuple(float(probabilities[index]) for index in order),
        tuple(int(index) for index in order),
    )


def without_invalid(
    predict: Callable[[Sequence[bytes]], list[Prediction]], images: Sequence[bytes]
) -> list[Prediction]:
    """Predictions of a model that refuses whole batches; again without its reasons."""
    if not images:
        return []
    try:
        return predict(images)
    except InvalidImageError as error:
        bad = {*error.indices}
        if not bad:
            raise
    good = [data for index, data in enumerate(images) if index not in bad]
    results = iter(without_invalid(predict, good))
    return [INVALID if i in bad else next(results) for i in range(len(images))]


class TransformingPredictor:
    """A model that takes tensors: images are made into them as evaluation does.

    Args:
        transform: What evaluation does to an image.
        class_names: Names of the classes, in the order of the model's.
        run: From images, resized and cropped, pixels from 0 to 255, `(batch, size,
            size, 3)` float32, to probabilities, `(batch, classes)`.
    """

    def __init__(
        self,
        transform: EvaluationTransform,
        class_names: Sequence[str],
        run: Callable[[tf.Tensor], np.ndarray],
    ):
        self._transform = transform
        self._class_names = class_names
        self._run = run

    def predict(self, images: Sequence[bytes], top_k: int) -> list[Prediction]:
        """A prediction for each encoded image; not `valid` where it is none."""
        crops = [self._crop(data) for data in images]
        valid = [crop for crop in crops if crop is not None]
        rows = iter(self._run(tf.stack(valid)) if valid else ())
        return [
            INVALID if crop is None else ranked(next(rows), self._class_names, top_k)
            for crop in crops
        ]

    def _crop(self, data: bytes) -> tf.Tensor | None:
        try:
            return self._transform.crop(decode_image(tf.constant(data)))
        except tf.errors.InvalidArgumentError:
            return None

    def __enter__(self) -> TransformingPredictor:
        return self

    def __exit__(self, *_: object) -> None:
        pass
