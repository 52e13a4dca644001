"""What can predict, behind one interface; each is imported when it was chosen."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from scalenet_training.errors import UsageError
from scalenet_training.predict.config import PredictConfig
from scalenet_training.predict.predictors import places

if TYPE_CHECKING:
    from scalenet_tf.serving import Prediction


class Predictor(Protocol):
    """A model that names what is on images; a context manager."""

    def predict(self, images: Sequence[bytes], top_k: int) -> list[Prediction]:
        """A prediction for each encoded image; not `valid` where it is none.

        Raises:
            UsageError: The model cannot be asked for this.
            RunError: It does not answer.
        """

    def __enter__(self) -> Predictor:
        """Itself."""

    def __exit__(self, *_: object) -> None:
        """Frees what it holds."""


@dataclasses.dataclass(frozen=True)
class Backend:
    """A kind of model: what it is, how it is recognised, the module that opens it."""

    form: str
    recognises: Callable[[str], bool]
    module: str

    def open(self, config: PredictConfig) -> Predictor:
        """Loads the model, or connects to it.

        Raises:
            UsageError: It cannot be loaded.
        """
        module = importlib.import_module(f"{__name__}.{self.module}")
        try:
            return module.open_predictor(config)
        except (ValueError, OSError, ImportError, KeyError) as error:
            raise UsageError(f"--model {config.model!r}: {error}") from error


BACKENDS = (
    Backend("the URL of a served model", places.is_url, "server"),
    Backend("a .tflite or .onnx file", places.is_exported_file, "exported_file"),
    Backend(
        "the folder of a SavedModel, or one with its versions",
        lambda path: places.savedmodel_folder(path) is not None,
        "savedmodel",
    ),
    Backend(
        "the folder of a run that has finished an epoch, or a .keras file in one",
        lambda path: places.run_and_model(path) is not None,
        "keras_run",
    ),
)


def find_backend(model: str) -> Backend:
    """The back-end for what `--model` says.

    Raises:
        UsageError: There is none.
    """
    for backend in BACKENDS:
        if backend.recognises(model):
            return backend
    forms = "; ".join(backend.form for backend in BACKENDS)
    raise UsageError(f"--model must be one of: {forms}. Received: {model!r}.")
