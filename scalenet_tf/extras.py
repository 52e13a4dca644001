"""Optional packages, imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType


def import_extra(module: str, package: str, extra: str, user: str) -> ModuleType:
    """Imports a module of an optional package.

    Args:
        module: The module.
        package: The package that has it, as pip calls it.
        extra: The extra of scalenet_tf that installs the package.
        user: What needs the package, for the message.

    Raises:
        ImportError: It is not installed; the message has the command that does.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{user} needs the package {package}: pip install 'scalenet_tf[{extra}]'."
        ) from error
