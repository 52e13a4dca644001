"""Settings of a prediction. Imports no TensorFlow."""

import dataclasses
import os
from typing import Annotated

import tyro

from scalenet_tf.decoding.formats import EXTENSIONS
from scalenet_training.errors import SettingError
from scalenet_training.settings.base import (
    POSITIVE,
    SIDE,
    Bound,
    OptionGroup,
    Settings,
)
from scalenet_training.settings.groups import NormalizationName
from scalenet_training.settings.inputs import FILE, existing, model

STREAM = "-"  # in place of a file: standard input or output


def is_url(model: str) -> bool:
    """Whether `--model` is meant as a URL."""
    return "://" in model


_MODEL = model(
    "the URL of a served model, or the folder of a run, or the file or folder of a "
    "model, that exists",
    lambda text: is_url(text) or os.path.exists(text),
)


URL = Bound("must be the URL of a served model", is_url)

_FORMS = ("`json`", "`csv`", "`jsonl`")
_OUTPUT = existing(
    f"a file in a folder that exists, or {STREAM} for standard output",
    lambda path: (
        path == STREAM
        or (os.path.isdir(os.path.dirname(path) or ".") and not os.path.isdir(path))
    ),
)
# A photograph after an option that is taken for a flag would be written over.
_OF_IMAGES = (*EXTENSIONS, ".webp", ".tif", ".tiff", ".heic", ".avif")
_NO_IMAGE = Bound(
    f"must not end in {', '.join(_OF_IMAGES)}, as images do",
    lambda path: not path.lower().endswith(_OF_IMAGES),
)


@dataclasses.dataclass(frozen=True)
class ServerOptions(OptionGroup):
    """For a served model."""

    timeout: Annotated[float, POSITIVE] = 30.0
    """Seconds from a request to the end of its answer."""

    header: tuple[str, ...] = ()
    """Sent with each request, as "Authorization: Bearer TOKEN"."""

    ca_file: str | None = None
    """For https:// or grpcs://: a PEM file with the certificates to trust. Default: the
    system's."""


@dataclasses.dataclass(frozen=True)
class PredictionOptions(OptionGroup):
    """What to look at, by which model."""

    images: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="IMAGE [IMAGE ...]"),
    ]
    """Image files, and folders: of these all .jpg, .jpeg, .png, .bmp and .gif files,
    also in their sub-folders. Where a sub-folder has the name of a class, as in
    FOLDER/cat/a.jpg or FOLDER/val/cat/a.jpg, the answers are compared with it, but for
    served models, which do not tell their classes. A single - instead: paths are read
    from standard input, a line each, and each is answered by a line of JSON, while the
    model stays loaded."""

    model: Annotated[str, _MODEL]
    """A run's folder or a .keras file; weights that come with the package, as
    cifar10:ScaleNetCifar38; an export: the folder of a
    SavedModel, or that of a name, for the highest version, a .tflite or .onnx file, or
    the folder of an OpenVINO model; or a served model:
    http[s]://HOST:PORT/v1/models/NAME[/versions/NUMBER | /labels/LABEL] (REST),
    http[s]://HOST:PORT/v2/models/NAME[/versions/NUMBER] (Open Inference Protocol) or
    grpc[s]://HOST[:8500]/NAME[/NUMBER | /versions/NUMBER | /labels/LABEL]."""

    top_k: Annotated[int, POSITIVE] = 5
    """How many classes to name for each image, at most."""

    json: bool = False
    """Print JSON instead of a table."""

    csv: Annotated[str | None, _NO_IMAGE, _OUTPUT] = None
    """Write a CSV file with a row for each image instead of a table; - for standard
    output."""

    jsonl: Annotated[str | None, _NO_IMAGE, _OUTPUT] = None
    """Write a line of JSON for each image instead of a table; - for standard output."""

    batch_size: Annotated[int, POSITIVE] = 32
    """Images that are decoded and computed, or sent, at a time."""

    attempts: Annotated[int, POSITIVE] = 4
    """For a served model: how often to ask, at most, while there is no server or it is
    unavailable."""


@dataclasses.dataclass(frozen=True)
class KerasOptions(OptionGroup):
    """For a .keras file, which does not say how images become its input."""

    normalization: NormalizationName | None = None
    """Mean and deviation of the pixels. Default: the run's."""

    image_size: Annotated[int | None, SIDE] = None
    """Of a network that takes any size: side of the images. Default: the run's."""

    eval_resize: Annotated[int | None, SIDE] = None
    """Resize the shorter side to this and crop the centre. Default:
    the run's, else the model's input size."""

    class_names: Annotated[str | None, FILE] = None
    """Text file with one class name per line. Default: the run's,
    else the numbers of the classes."""


@dataclasses.dataclass(frozen=True)
class PredictConfig(KerasOptions, ServerOptions, PredictionOptions, Settings):
    """What to look at, by which model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if STREAM in self.images and (len(self.images) > 1 or self._forms):
            raise SettingError(
                f"IMAGES must be {STREAM} alone, without {', '.join(_FORMS)}, to take "
                f"paths from standard input. Received: {' '.join(self.images)}"
                f"{''.join(f' with `{name}`' for name in self._forms)}."
            )
        streams = (self.csv, self.jsonl).count(STREAM)
        if streams and streams + self.json > 1:
            raise SettingError(
                f"only one of {', '.join(_FORMS)} can have standard output. Received: "
                f"csv={self.csv!r}, jsonl={self.jsonl!r}, json={self.json!r}."
            )
        self._check_outputs()

    def _check_outputs(self) -> None:
        """Checks that no output is another one, or a file that is read."""
        read = (*self.images, self.model, self.class_names, self.ca_file)
        taken = {os.path.realpath(path) for path in read if path is not None}
        for name in ("csv", "jsonl"):
            path = getattr(self, name)
            if path in (None, STREAM):
                continue
            place = os.path.realpath(path)
            if place in taken:
                rule = "must be another file than IMAGES, `model` and those of options"
                raise SettingError.of(name, rule, path)
            taken.add(place)

    @property
    def _forms(self) -> list[str]:
        """The forms of output that were asked for, as they are called."""
        return [name for name in ("json", "csv", "jsonl") if getattr(self, name)]
