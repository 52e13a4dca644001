"""The loss of the networks that `HyperScaleNet` compiles.

It is here, not with `HyperScaleNet`, so that a saved network loads without KerasTuner.
"""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("scalenet_tf")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross entropy of integer labels (batch,) and probabilities (batch, classes).

    Args:
        label_smoothing: Part of the target spread evenly over all classes.
        name: Name of the loss.
        **kwargs: Of `keras.losses.Loss`.

    Source: Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        name: str = "smoothed_cross_entropy",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss by example, (batch,).

        Raises:
            ValueError: The labels are one-hot vectors.
        """
        if y_true.shape[1:] == y_pred.shape[1:] and y_pred.shape[-1] != 1:
            raise ValueError(
                "labels must be whole numbers, (batch,) or (batch, 1). Received: "
                f"shape {tuple(y_true.shape)} for {y_pred.shape[-1]} classes; call "
                "numpy.argmax(labels, axis=1)."
            )
        labels = keras.ops.cast(keras.ops.reshape(y_true, (-1,)), "int32")
        # By Keras' operation of labels: one-hot vectors of a label beyond the classes
        # are all zero, and so would be their loss.
        loss = keras.losses.sparse_categorical_crossentropy(labels, y_pred)
        if not self.label_smoothing:
            return loss
        even = keras.ops.ones_like(y_pred) / y_pred.shape[-1]
        part = self.label_smoothing
        spread = keras.losses.categorical_crossentropy(even, y_pred)
        return (1 - part) * loss + part * spread

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}
