"""Optional packages, imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType


class MissingPackageError(ImportError):
    """A package of an extra is not installed."""


def import_extra(
    module: str, package: str, extra: str, user: str = "this"
) -> ModuleType:
    """Imports a module of an optional package.

    Args:
        module: The module.
        package: The package that has it, as pip calls it.
        extra: The extra of scalenet_tf that installs the package.
        user: What needs the package, for the message.

    Raises:
        MissingPackageError: It is not installed; the message has the command that
            installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"{user} needs the package {package}: pip install 'scalenet_tf[{extra}]'."
        ) from error
