"""The formats of exported models: one table, from which everything else works.

Adding a format takes a module, which is imported when it is needed, and a row. The
functions that work on formats take a table, `FORMATS` by default. This module imports
neither TensorFlow nor a format's module by itself.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import os
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scalenet_tf.backends import require_tensorflow
from scalenet_tf.export.interface import (
    Exportable,
    FormatModule,
    FormatOptions,
    OptionError,
)


@dataclasses.dataclass(frozen=True)
class ExportFormat:
    """A format of exported models.

    Attributes:
        name: What `--format` takes.
        module: Dotted name of the module that writes and loads it, a `FormatModule`.
        form: What such a model is on the disk, for messages.
        recognises: Whether a path is that of such a model.
        suffix: How the names of its files end; `None` where it is a folder.
        bounds: Largest error of a logit over the largest logit that counts as equal,
            by `quantization` in the metadata, else by name. `None`: it rounds by
            design; look at the agreement.
        variants: Title -> options, for each row of the table that a benchmark prints.
        requires: Modules of optional packages that write and run it.
        packages: Distributions whose versions a model card names.
        subfolder: Where versions are, in the folder of a model's name.
        in_tensorflow: Whether TensorFlow runs it, and is there to decode images, too.
    """

    name: str
    module: str
    form: str
    recognises: Callable[[str], bool]
    suffix: str | None
    bounds: Mapping[str, float | None]
    variants: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    requires: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    subfolder: str | None = None
    in_tensorflow: bool = False

    @property
    def loaded(self) -> FormatModule:
        """The module, imported."""
        return typing.cast(FormatModule, importlib.import_module(self.module))

    @property
    def installed(self) -> bool:
        """Whether all packages that it needs are installed."""
        return all(importlib.util.find_spec(name) for name in self.requires)

    def options(self, given: Mapping[str, Any]) -> FormatOptions:
        """The options; those that were not given have their defaults.

        Raises:
            OptionError: A value is not allowed.
        """
        return self.loaded.Options(**given)

    def write(
        self, content: Exportable, folder: str, name: str, options: FormatOptions
    ) -> str:
        """Writes a model into a folder that is made for it; gives its path there.

        Raises:
            BackendError: Keras computes by another backend than TensorFlow.
        """
        require_tensorflow(f"export to {self.name}")
        path = folder
        if self.suffix is not None:
            path = os.path.join(folder, f"{name}{options.label}{self.suffix}")
        self.loaded.write(content, path, options)
        return path

    def versions_folder(self, repository: str, name: str) -> str:
        """Where the numbered versions of a model are."""
        subfolder = self.name if self.subfolder is None else self.subfolder
        return os.path.join(repository, name, subfolder).rstrip(os.sep)

    def bound(self, metadata: Mapping[str, Any]) -> float | None:
        """The bound of a model by its metadata."""
        return self.bounds[metadata.get("quantization", self.name)]


def _is_savedmodel(path: str) -> bool:
    return os.path.isfile(os.path.join(path, "saved_model.pb"))


def _is_tflite(path: str) -> bool:
    if path.endswith(".tflite"):
        return True
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(8)[4:] == b"TFL3"  # its identifier, in a file of any name


FORMATS: tuple[ExportFormat, ...] = (
    ExportFormat(
        name="savedmodel",
        module="scalenet_tf.export.savedmodel",
        form="the folder of a SavedModel",
        recognises=_is_savedmodel,
        suffix=None,
        bounds={"savedmodel": 1e-5},
        variants={
            "SavedModel, not folded": {"fold": False},
            "SavedModel, constants": {"constants": True},
            "SavedModel": {},
        },
        packages=("tensorflow-serving-api",),
        # TensorFlow Serving passes over the other formats' folders there, whose names
        # are not numbers.
        subfolder="",
        in_tensorflow=True,
    ),
    ExportFormat(
        name="tflite",
        module="scalenet_tf.export.tflite",
        form="a .tflite file",
        recognises=_is_tflite,
        suffix=".tflite",
        bounds={"none": 1e-5, "float16": 5e-3, "dynamic": None, "int8": None},
        variants={
            "TFLite float32": {},
            "TFLite float16": {"quantization": "float16"},
            "TFLite dynamic": {"quantization": "dynamic"},
            "TFLite int8": {"quantization": "int8"},
        },
        requires=("ai_edge_litert",),
        packages=("ai-edge-litert",),
    ),
    ExportFormat(
        name="onnx",
        module="scalenet_tf.export.onnx",
        form="an .onnx file",
        recognises=lambda path: path.endswith(".onnx"),
        suffix=".onnx",
        bounds={"onnx": 1e-5},
        variants={"ONNX": {}},
        requires=("onnx", "onnxruntime"),
        packages=("onnx", "onnxruntime"),
    ),
    ExportFormat(
        name="openvino",
        module="scalenet_tf.export.openvino",
        form="the folder of an OpenVINO model",
        recognises=lambda path: os.path.isfile(os.path.join(path, "model.xml")),
        suffix=None,
        bounds={"openvino": 1e-5},
        variants={"OpenVINO": {}},
        requires=("onnx", "openvino"),
        packages=("onnx", "openvino"),
    ),
)


def get_format(name: str, formats: Sequence[ExportFormat] = FORMATS) -> ExportFormat:
    """The format of a name.

    Raises:
        OptionError: There is none.
    """
    by_name = {entry.name: entry for entry in formats}
    if name not in by_name:
        raise OptionError("format", f"must be one of {tuple(by_name)}", name)
    return by_name[name]


def versions_in(folder: str) -> list[str]:
    """Paths of the numbered versions in a folder, the highest first.

    Other entries, such as leftovers of a killed export, do not count.
    """
    names = os.listdir(folder) if os.path.isdir(folder) else []
    versions = [name for name in names if re.fullmatch("[0-9]+", name)]
    return [
        os.path.join(folder, name) for name in sorted(versions, key=int, reverse=True)
    ]


def next_version(folder: str | os.PathLike[str]) -> int:
    """The number after the highest version in a folder, 1 where there is none."""
    versions = versions_in(os.fspath(folder))
    return 1 + int(os.path.basename(versions[0])) if versions else 1


def find_exported(
    path: str, formats: Sequence[ExportFormat] = FORMATS
) -> tuple[ExportFormat, str] | None:
    """The format of an exported model and where it is; `None` where there is none.

    It is at the path, or the highest of the numbered versions in that folder.
    """
    for place in (path, *versions_in(path)):
        for entry in formats:
            if entry.recognises(place):
                return entry, place
    return None
