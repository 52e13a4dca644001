"""The library without TensorFlow, for commands that need parts of it.

`import scalenet_tf` imports the layers, and with them Keras and its backend, so that
Keras finds them in saved models: right for who imports it, and ten seconds for a
command that draws a figure. In the process of a command, the package's `__init__` waits
until one of its names is asked for; modules inside it are imported as ever.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

_LIBRARY = "scalenet_tf"


class _Waiting(types.ModuleType):
    """The package before its `__init__` has run."""

    def __getattr__(self, name: str) -> Any:
        # The machinery of imports looks for what is no name of the package's.
        if name.startswith("__") and name != "__version__":
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self.__class__ = types.ModuleType  # type: ignore[assignment]
        assert self.__spec__ is not None
        assert self.__spec__.loader is not None
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def defer_library() -> None:
    """Lets the library's `__init__` wait, unless it has run already."""
    spec = importlib.util.find_spec(_LIBRARY)
    if _LIBRARY in sys.modules or spec is None:
        return
    module = importlib.util.module_from_spec(spec)
    module.__class__ = _Waiting
    sys.modules[_LIBRARY] = module
