"""Settings of a publication. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated, Literal

import tyro

from scalenet_training.export.config import FOLDER_NAME, Format
from scalenet_training.settings.base import Bound, Settings
from scalenet_training.settings.inputs import FILE, FOLDER, TRAINED

_DIFFERENT = Bound(
    "must be one or more, none of them twice",
    lambda names: 0 < len(names) == len(set(names)),
)
_LICENSE = Bound(
    "must be an identifier of small letters, digits and . + -, such as apache-2.0",
    lambda text: re.fullmatch("[a-z0-9][a-z0-9.+-]*", text) is not None,
)


@dataclasses.dataclass(frozen=True)
class PublishConfig(Settings):
    """Which run, as what, and where to."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN"), TRAINED]
    """Folder of a run, or the name of weights that come with the package."""

    folder: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FOLDER")]
    """Where to: a new or an empty folder, or an earlier publication, which is
    replaced."""

    formats: Annotated[tuple[Format, ...], _DIFFERENT] = ("savedmodel", "tflite")
    """Exports beside the network; each is verified as by `scalenet export`."""

    saved: Literal["best", "last"] = "best"
    """For a run: the network with the lowest validation error, or the last."""

    name: Annotated[str | None, FOLDER_NAME] = None
    """The model's name. Default: that of the run's folder, or of the weights."""

    license: Annotated[str | None, _LICENSE] = None
    """Identifier of the licence, as Hugging Face lists them, for the model card."""

    license_file: Annotated[str | None, FILE] = None
    """Text of the licence, which becomes the file LICENSE."""

    images: Annotated[str | None, FOLDER] = None
    """Folder of images to verify the exports with. Default: the evaluation split's."""

    data_dir: Annotated[str | None, FOLDER] = None
    """Folder of TensorFlow Datasets. Default: the run's."""
