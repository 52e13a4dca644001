"""Packages that only this client needs, imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType


def import_extra(module: str, package: str) -> ModuleType:
    """Imports a module of an optional package.

    Raises:
        ImportError: It is not installed; the message has the command that does.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"the client for TensorFlow Serving needs the package {package}: "
            "pip install 'scalenet_tf[serving]'."
        ) from error
