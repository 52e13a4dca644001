"""A model that is served, by the client of TensorFlow Serving."""

from __future__ import annotations

from collections.abc import Sequence

from scalenet_tf.serving import (
    Client,
    InvalidImageError,
    ModelNotFoundError,
    Prediction,
    ServingError,
    SignatureNotFoundError,
)
from scalenet_training.errors import RunError, UsageError
from scalenet_training.predict.config import PredictConfig
from scalenet_training.predict.predictors.local import without_invalid


class ServerPredictor:
    """Asks a server; what it answers wrong becomes a command's error."""

    def __init__(self, client: Client):
        self._client = client

    def predict(self, images: Sequence[bytes], top_k: int) -> list[Prediction]:
        """A prediction for each encoded image; not `valid` where it is none."""
        return without_invalid(lambda batch: self._predict(batch, top_k), images)

    def _predict(self, images: Sequence[bytes], top_k: int) -> list[Prediction]:
        try:
            return self._client.predict(images, top_k)
        except InvalidImageError:
            raise
        except (ModelNotFoundError, SignatureNotFoundError) as error:
            raise UsageError(f"--model: {error}") from error
        except ServingError as error:
            raise RunError(str(error)) from error
        except ValueError as error:
            raise UsageError(str(error)) from error

    def __enter__(self) -> ServerPredictor:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()


def open_predictor(config: PredictConfig) -> ServerPredictor:
    """Makes the client; nothing is sent yet.

    Raises:
        ImportError: A package of the client is missing.
        ValueError: The URL has another form.
    """
    client = Client(
        config.model,
        timeout=config.timeout,
        attempts=config.attempts,
        batch_size=config.batch_size,
    )
    return ServerPredictor(client)
