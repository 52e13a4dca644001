"""Settings of an export. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Annotated, Literal

import tyro

from scalenet_training.errors import UsageError
from scalenet_training.networks.saved_network_config import SavedNetworkConfig

Format = Literal["savedmodel", "tflite", "onnx"]

# Options of one format alone, with their defaults there.
_OF_FORMAT = {
    "savedmodel": {"no_fold": False, "top_k": 5, "on_corrupt": "flag"},
    "tflite": {
        "quantization": "none",
        "input_type": "float32",
        "calibration_dir": None,
        "calibration_images": 200,
    },
    "onnx": {},
}
_OF_INT8 = ("calibration_dir", "calibration_images")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig(SavedNetworkConfig):
    """What to export, as what, where to."""

    name: str
    """The model's name: a folder of --to."""

    format: Format = "savedmodel"
    """savedmodel: for TensorFlow Serving; tflite: for LiteRT, one image at a time;
    onnx: for onnxruntime and others."""

    to: str = "savedmodels"
    """The model repository. A SavedModel becomes the next free version in <to>/<name>,
    a TFLite or ONNX file the next one in <to>/<name>/tflite or <to>/<name>/onnx."""

    images: str | None = None
    """Folder of images to verify with. Default: the evaluation split's."""

    class_names: str | None = None
    """Text file with the name of a class a line. Default: the run's, else the
    dataset's."""

    no_fold: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Of a SavedModel: leave the batch norms, and do not fold them into the
    convolutions."""

    top_k: int | None = None
    """Of a SavedModel: how many classes a request is answered with. Default: 5."""

    on_corrupt: Literal["error", "flag"] | None = None
    """Of a SavedModel: whether an image that cannot be decoded is marked in the answer
    or fails its request, and those that the server joined with it. Default: flag."""

    quantization: Literal["none", "float16", "dynamic", "int8"] | None = None
    """Of a TFLite file: float16 and dynamic (int8) keep the weights so, int8 computes
    so too. Default: none."""

    input_type: Literal["float32", "uint8"] | None = None
    """Of a TFLite file: whether it takes normalised images or pixels. Default:
    float32."""

    calibration_dir: str | None = None
    """For int8: folder of images that show the range of the activations. Default: the
    dataset's training split."""

    calibration_images: int | None = None
    """For int8: how many of these to use. Default: 200."""

    @property
    def folder(self) -> str:
        """Where the versions are.

        TensorFlow Serving passes over names that are no numbers, and so over the other
        formats' folders.
        """
        parts = () if self.format == "savedmodel" else (self.format,)
        return os.path.join(self.to, self.name, *parts)

    def options(self) -> dict[str, object]:
        """The options of the format, as given or by default."""
        defaults = _OF_FORMAT[self.format]
        given = {name: getattr(self, name) for name in defaults}
        return {
            name: defaults[name] if value is None else value
            for name, value in given.items()
        }

    def check(self) -> None:
        """Checks what can be checked before anything is loaded.

        Raises:
            UsageError: A setting is not allowed, alone or with others.
        """
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", self.name):
            raise UsageError(
                "--name must be a plain folder name of letters, digits and _ . + -, "
                f"and not begin with one of . + -. Received: {self.name!r}."
            )
        for kind, names in _OF_FORMAT.items():
            for name in names:
                # None, or a flag that was not given
                if kind != self.format and getattr(self, name) not in (None, False):
                    raise UsageError(
                        f"{_option(name)} is for --format {kind}. "
                        f"Received: --format {self.format}."
                    )
        if self.quantization != "int8":
            for name in _OF_INT8:
                if getattr(self, name) is not None:
                    raise UsageError(
                        f"{_option(name)} is for --quantization int8. Received: "
                        f"--quantization {self.quantization or 'none'}."
                    )
        for name in ("top_k", "calibration_images"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(
                    f"{_option(name)} must be at least 1. Received: {value}."
                )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
