"""Settings of an evaluation. Imports no TensorFlow."""

import dataclasses
from typing import Literal

from scalenet_training.networks.saved_network_config import SavedNetworkConfig
from scalenet_training.train.config import StrategyName


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(SavedNetworkConfig):
    """What to evaluate, on what.

    RUN-OR-MODEL may also be what export.py wrote: a .tflite file, an .onnx file or the
    folder of a SavedModel. It says itself how images are resized and normalised.
    """

    compare: str | None = None
    """Of an exported file: the run or .keras file that it was made of. It is evaluated
    on the same images, and the agreement of the likeliest classes is printed. Its
    dataset is the default."""

    batch_size: int = 64
    """Global batch."""

    strategy: StrategyName = "auto"
    """Devices, as in train.py."""

    tpu: str | None = None
    """For --strategy tpu, as in train.py."""

    virtual_devices: int = 0
    """Split the CPU in that many logical devices."""

    jit: Literal["auto", "on", "off"] = "auto"
    """XLA, as in train.py."""
