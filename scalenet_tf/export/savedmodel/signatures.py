"""The signatures of a SavedModel: from what a request holds to answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import tensorflow as tf

from scalenet_tf.decoding import (
    are_plain,
    decode_image,
    decode_plain,
)
from scalenet_tf.export.classifier import Classifier
from scalenet_tf.export.inputs import (
    EncodedInput,
    ImageInput,
    encoded_input,
    normalized_input,
    pixels_input,
)
from scalenet_tf.export.interface import Exportable
from scalenet_tf.export.requests import decode_batch
from scalenet_tf.export.savedmodel.guards import guarded_images, guarded_strings
from scalenet_tf.preprocessing import EvaluationTransform

OnCorrupt = Literal["error", "flag"]


class Service:
    """The functions of the signatures.

    Args:
        network: The network of the export.
        content: What is exported.
        top_k: Length of `classes` and `labels`; no more than there are classes.
        on_corrupt: What `serving_bytes` does with an image that cannot be decoded.
        checked: Whether requests are checked; `False` serves to measure what that
            costs.
    """

    def __init__(
        self,
        network: Classifier,
        content: Exportable,
        top_k: int,
        on_corrupt: OnCorrupt,
        *,
        checked: bool = True,
    ):
        self._images = guarded_images if checked else _as_they_come
        self._strings = guarded_strings if checked else _as_they_come
        self.network = network
        self.transform = transform = content.transform
        self.class_names = tuple(content.class_names)
        self.k = min(top_k, len(content.class_names))
        self.on_corrupt = on_corrupt
        self.normalized = normalized_input(
            network.image_shape[:2], network.smallest_side, transform
        )

    def signatures(self) -> dict[str, Callable]:
        """A function of one input for each signature."""
        normalized = tf.TensorSpec((None, *self.network.image_shape), name="images")
        pixels = tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")
        encoded = tf.TensorSpec((None,), tf.string, name="image_bytes")
        functions = {
            "serving_default": (self._classify_normalized, normalized),
            "serving_uint8": (self._classify_pixels, pixels),
            "serving_bytes": (self._classify_encoded, encoded),
            "features": (self._features, normalized),
        }
        return {
            name: tf.function(function, input_signature=[spec])
            for name, (function, spec) in functions.items()
        }

    def _features(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        images = self._images(images, self.normalized)
        return {"features": self.network(images)["features"]}

    def _classify_normalized(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._classify(self._images(images, self.normalized))

    def _classify(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = self.network(images)
        classes = tf.math.top_k(outputs["logits"], self.k).indices
        return {
            "logits": outputs["logits"],
            "probabilities": outputs["probabilities"],
            "classes": classes,
            "labels": tf.gather(tf.constant(self.class_names), classes),
        }

    def _classify_pixels(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        images = self._images(images, pixels_input(self.transform))
        return self._classify(self.transform(images))

    def _classify_encoded(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        encoded = self._strings(image_bytes, encoded_input(self.transform))
        images, valid = _decode(encoded, self.transform)
        if self.on_corrupt == "error":
            with tf.control_dependencies([_assert_all(valid)]):
                return self._classify(tf.identity(images))
        outputs = self._classify(images)
        blank = {key: tf.zeros((), x.dtype) for key, x in outputs.items()}
        blank |= {"classes": tf.constant(-1), "labels": tf.constant("")}
        rows = valid[:, tf.newaxis]
        return {
            **{key: tf.where(rows, x, blank[key]) for key, x in outputs.items()},
            "valid": valid,
        }


def _as_they_come(values: tf.Tensor, wanted: ImageInput | EncodedInput) -> tf.Tensor:
    del wanted
    return values


def _decode(
    encoded: tf.Tensor, transform: EvaluationTransform
) -> tuple[tf.Tensor, tf.Tensor]:
    """The network's input for each image, and whether the image could be decoded.

    Each request makes a dataset, which costs time by the operations in it: requests of
    nothing but plain images get one with few.
    """
    return tf.cond(
        are_plain(encoded),
        lambda: decode_batch(decode_plain, encoded, transform),
        lambda: decode_batch(decode_image, encoded, transform),
    )


def _assert_all(valid: tf.Tensor) -> tf.Operation:
    corrupt = tf.where(~valid)[:, 0]
    message = "`image_bytes` cannot be decoded at the indices (counted from 0)"
    return tf.debugging.Assert(tf.reduce_all(valid), [message, corrupt], summarize=16)
