"""Keras callbacks for a loop whose model is not compiled."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class ScalarSummaries(keras.callbacks.Callback):
    """Writes each epoch's numbers for TensorBoard.

    Keras' own callback asks for a compiled model, whose optimizer would then be
    saved with it.
    """

    def __init__(self, log_dir: str):
        super().__init__()
        self.log_dir = log_dir

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Opens the log."""
        self.writer = tf.summary.create_file_writer(self.log_dir)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the epoch's numbers."""
        with self.writer.as_default(step=epoch):
            for name, value in (logs or {}).items():
                tf.summary.scalar(name, value)
        self.writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Closes the log."""
        self.writer.close()
