"""Optional packages and slow modules, imported where they are used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from types import ModuleType
from typing import Any

from scalenet_tf.backends import require_tensorflow


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


def deferred(
    package: str,
    modules: Mapping[str, Sequence[str]],
    by_tensorflow: Collection[str] = (),
) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose modules are imported when asked for.

    So that who needs one part of a package does not wait for TensorFlow, which another
    part needs.

    Args:
        package: Dotted name of the package.
        modules: Dotted name of a module -> names that the package has from it.
        by_tensorflow: Those of the modules that need Keras to compute by TensorFlow:
            `BackendError` where it does not.
    """
    places = {name: module for module, names in modules.items() for name in names}

    def attribute(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if places[name] in by_tensorflow:
            require_tensorflow(f"{package}.{name}")
        module = importlib.import_module(places[name])
        value = getattr(module, name)
        vars(sys.modules[package])[name] = value
        return value

    return attribute
