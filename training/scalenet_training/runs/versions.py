"""Versions of what computes, which runs and exports record."""

from __future__ import annotations

import platform

import keras
import numpy as np
import tensorflow as tf

import scalenet_tf


def versions() -> dict[str, str]:
    """Versions of what computes."""
    return {
        "scalenet_tf": scalenet_tf.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
