"""Optional packages, imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType


class MissingPackageError(ImportError):
    """A package of an extra is not installed."""


def import_extra(module: str, package: str, extra: str) -> ModuleType:
    """Imports a module of an optional package.

    Raises:
        MissingPackageError: It is not installed; the message has the command that
            installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"this needs the package {package}: pip install 'scalenet_tf[{extra}]'."
        ) from error
