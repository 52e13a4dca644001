"""The hook of the training loop: what it says of epochs, to a `Forwarding`."""

from __future__ import annotations

from typing import Any

import keras

from scalenet_training.tracking.forwarding import Forwarding


class ForwardedEpochs(keras.callbacks.Callback):
    """Sends each epoch once its checkpoint is saved, and what is lacking before it."""

    def __init__(self, forwarding: Forwarding):
        super().__init__()
        self._forwarding = forwarding

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Sends what a killed process had not sent."""
        self._forwarding.send_until(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Sends the epoch."""
        self._forwarding.send_until(epoch + 1)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Sends the files, while the other workers of a cluster wait."""
        self._forwarding.finish()
