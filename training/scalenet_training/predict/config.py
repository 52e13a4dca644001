"""Settings of a prediction. Imports no TensorFlow."""

import dataclasses
from typing import Annotated

import tyro

from scalenet_training.settings import Settings


@dataclasses.dataclass(frozen=True)
class PredictConfig(Settings):
    """What to look at, by which model."""

    images: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="IMAGE [IMAGE ...]"),
    ]
    """Image files, and folders: of these all .jpg, .jpeg, .png, .bmp and .gif files,
    also in their sub-folders."""

    model: str
    """A run's folder or a .keras file in it; a SavedModel: its folder, or that of a
    name, for the highest version; a .tflite or .onnx file; or a served model:
    http[s]://HOST:PORT/v1/models/NAME[/versions/NUMBER | /labels/LABEL] (REST) or
    grpc://HOST[:8500]/NAME[/NUMBER | /versions/NUMBER | /labels/LABEL]."""

    top_k: int = 5
    """How many classes to name for each image, at most."""

    json: bool = False
    """Print JSON instead of a table."""

    batch_size: int = 32
    """Images that are computed, or sent, at a time."""

    timeout: float = 30.0
    """Of a served model: seconds to wait for an answer."""

    attempts: int = 4
    """Of a served model: how often to ask, at most, while there is no server or it is
    unavailable."""
