"""TensorFlow's import without its greetings, which no setting of its own turns off."""

from __future__ import annotations

import importlib.abc
import importlib.util
import logging
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

# What is said on every machine without a GPU, or whatever the level: nothing to act on.
_GREETINGS = re.compile(
    r"WARNING: All log messages before absl::InitializeLog"
    r"|I\d{4} \d\d:\d\d:\d"
    r"|E\d{4} .*failed call to cuInit.*\(303\)"  # there is no driver
    r"|To enable the following instructions:"
)
# What TensorFlow and its datasets say to their own authors.
_DEPRECATIONS = re.compile(
    r"is deprecated|will be removed in a future version|has no dataset_info\.json"
)
_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def silence_tensorflow() -> None:
    """Keeps TensorFlow's greetings from stderr when it is imported.

    What it says of libraries that it does not find, and errors, stays. Does nothing
    where the user has set TF_CPP_MIN_LOG_LEVEL to another level than 2.
    """
    level = os.environ.setdefault(_LEVEL, "2")
    if level == "2" and "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow once, with a loader that keeps what is said meanwhile."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader):
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        sys.stderr.flush()
        stderr = os.dup(2)
        with tempfile.TemporaryFile() as said:
            os.dup2(said.fileno(), 2)
            try:
                self._loader.exec_module(module)
                module.config.list_physical_devices()  # looks for drivers
            finally:
                os.dup2(stderr, 2)
                os.close(stderr)
                said.seek(0)
                lines = said.read().decode(errors="replace").splitlines(keepends=True)
                sys.stderr.writelines(x for x in lines if not _GREETINGS.match(x))
        for name in ("absl", "tensorflow"):  # which have made their loggers by now
            logging.getLogger(name).addFilter(_is_for_users)


def _is_for_users(record: logging.LogRecord) -> bool:
    return not _DEPRECATIONS.search(record.getMessage())
