"""Settings of what makes weights part of the package. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import os
from typing import Annotated

import tyro

from scalenet_training.settings.base import Settings
from scalenet_training.settings.inputs import FOLDER, RUN


@dataclasses.dataclass(frozen=True)
class ShipConfig(Settings):
    """Which run, and the package's folder of weights."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN"), RUN]
    """Folder of a run that has ended, whose last.keras is taken."""

    to: Annotated[str, FOLDER] = os.path.join("scalenet_tf", "data", "weights")
    """Folder of all weights; those of the same dataset and network are replaced."""

    data_dir: Annotated[str | None, FOLDER] = None
    """Folder of TensorFlow Datasets. Default: the run's."""
