"""Settings of an evaluation. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from scalenet_training.networks.saved_network_config import SavedNetworkConfig
from scalenet_training.settings.base import POSITIVE, OptionGroup
from scalenet_training.settings.groups import DeviceOptions
from scalenet_training.settings.inputs import MODEL


@dataclasses.dataclass(frozen=True)
class EvaluationOptions(OptionGroup):
    """What is compared, and in which batches."""

    compare: Annotated[str | None, MODEL] = None
    """For an exported file: the run, .keras file or weights that it was made from. The
    same images are evaluated, and the agreement of the likeliest classes is printed.
    Its dataset is the default."""

    batch_size: Annotated[int, POSITIVE] = 64
    """Global batch: summed over all replicas."""

    report: str | None = None
    """Folder to write a report to, with the page report.html: figures of merit of each
    class, confusions, calibration, the worst errors, labels that may be wrong. An
    earlier report is replaced."""


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(DeviceOptions, EvaluationOptions, SavedNetworkConfig):
    """What to evaluate, on what.

    RUN-OR-MODEL may also be an export: a .tflite file, an .onnx file, the folder of a
    SavedModel or of OpenVINO. It says itself how images are resized and normalised.
    """
