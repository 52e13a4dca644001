"""Settings of an export. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Annotated, Literal, get_args

import tyro

from scalenet_training.networks.saved_network_config import SavedNetworkConfig
from scalenet_training.settings.base import POSITIVE, Bound
from scalenet_training.settings.inputs import FILE, FOLDER, existing, one_of

# Those of `scalenet_tf.export.FORMATS`, which needs TensorFlow.
Format = Literal["savedmodel", "tflite", "onnx", "openvino"]

FOLDER_NAME = Bound(
    "must be a plain folder name of letters, digits and _ . + -, and not begin with "
    "one of . + -",
    lambda name: re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", name) is not None,
)


def is_number(text: str) -> bool:
    """Whether a text is a number, of whatever size."""
    try:
        float(text)
    except ValueError:
        return False
    return True


_TEMPERATURE = existing(
    "a number from 0.01 to 100, or the report.json of an evaluation, or its folder",
    lambda text: is_number(text) or os.path.exists(text),
)
# Settings of formats that are calibrated by images.
CALIBRATION = ("calibration_dir", "calibration_images")
# Options that some formats have. Their defaults are the format's own.
_OF_FORMATS = (
    *("no_fold", "constants", "top_k", "on_corrupt"),
    *("quantization", "input_type"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig(SavedNetworkConfig):
    """What to export, as what, where to."""

    name: Annotated[str, FOLDER_NAME]
    """The model's name: a folder of --to."""

    # A script has formats of its own, by a table that it gives `export_model`.
    format: Annotated[Format | str, one_of(*get_args(Format))] = "savedmodel"
    """savedmodel: for TensorFlow Serving; tflite: for LiteRT, one image at a time;
    onnx: for onnxruntime and others; openvino: for OpenVINO."""

    to: str = "savedmodels"
    """The model repository. A SavedModel becomes the next free version in <to>/<name>,
    any other format the next one in <to>/<name>/<format>."""

    images: Annotated[str | None, FOLDER] = None
    """Folder of images to verify with. Default: the evaluation split's."""

    class_names: Annotated[str | None, FILE] = None
    """Text file with one class name per line. Default: the run's, else the
    dataset's."""

    temperature: Annotated[str | None, _TEMPERATURE] = None
    """What logits are divided by for the probabilities: a number, or the report (its
    folder, or report.json) of an evaluation on validation data, whose temperature is
    taken. The logits stay the network's own. Default: 1."""

    no_fold: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """For a SavedModel: leave the batch norms, and do not fold them into the
    convolutions."""

    constants: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """For a SavedModel: make the weights constants of the graph. Requests of few images
    take less time on a CPU, loading takes longer, and several times the memory."""

    top_k: int | None = None
    """For a SavedModel: how many classes a request is answered with. Default: 5."""

    on_corrupt: Literal["error", "flag"] | None = None
    """For a SavedModel: whether an image that cannot be decoded is marked in the answer
    or fails its request, and those that the server joined with it. Default: flag."""

    quantization: Literal["none", "float16", "dynamic", "int8"] | None = None
    """For a TFLite file: float16 and dynamic (int8) keep the weights so, int8 computes
    so too. Default: none."""

    input_type: Literal["float32", "uint8"] | None = None
    """For other formats than SavedModel: whether they take normalised images (float32)
    or pixels (uint8). Default: float32."""

    calibration_dir: Annotated[str | None, FOLDER] = None
    """For int8: folder of images that show the range of the activations. Default: the
    dataset's training split."""

    calibration_images: Annotated[int | None, POSITIVE] = None
    """For int8: how many of these to use. Default: 200."""

    def given(self) -> dict[str, object]:
        """The options of formats that were given, by the names that formats know."""
        values = {name: getattr(self, name) for name in _OF_FORMATS}
        values["fold"] = False if values.pop("no_fold") else None
        values["constants"] = values["constants"] or None
        return {name: value for name, value in values.items() if value is not None}

    def calibration_given(self) -> list[str]:
        """The settings of calibration that were given."""
        return [name for name in CALIBRATION if getattr(self, name) is not None]


def option(name: str) -> str:
    """The setting of an option of a format, as messages name it."""
    return "`no_fold`" if name == "fold" else f"`{name}`"
