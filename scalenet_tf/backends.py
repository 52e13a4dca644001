"""Which backend Keras computes by, and the error of what TensorFlow's alone can do.

Imports neither Keras nor TensorFlow by itself.
"""

from __future__ import annotations

import json
import os
import sys

_TENSORFLOW = "tensorflow"


class BackendError(RuntimeError):
    """Something needs TensorFlow, and Keras computes by another backend."""


def backend_name() -> str:
    """The backend that Keras computes by, or would if it were imported."""
    keras = sys.modules.get("keras")
    if keras is not None:
        return keras.config.backend()
    return os.environ.get("KERAS_BACKEND") or _configured()


def require_tensorflow(user: str) -> None:
    """Checks that Keras computes by TensorFlow.

    Args:
        user: What needs it, for the message: `"scalenet train"`.

    Raises:
        BackendError: It computes by another backend.
    """
    backend = backend_name()
    if backend != _TENSORFLOW:
        raise BackendError(
            f"{user} works on the TensorFlow backend of Keras alone. Received: the "
            f"backend {backend!r}. Set the environment variable "
            "KERAS_BACKEND=tensorflow, or remove it, before Keras is imported; what "
            "another backend has saved loads there."
        )


def _configured() -> str:
    """The backend in Keras' file of settings, which Keras reads as it is imported."""
    home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    try:
        with open(os.path.join(os.path.expanduser(home), "keras.json")) as file:
            return str(json.load(file).get("backend", _TENSORFLOW))
    except (OSError, ValueError, AttributeError):  # as Keras does, silently
        return _TENSORFLOW
