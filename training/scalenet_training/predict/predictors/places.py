"""Where models are: URLs, files, folders. Imports no TensorFlow."""

from __future__ import annotations

import os


def is_url(text: str) -> bool:
    """Whether it is meant as a URL."""
    return "://" in text


def is_exported_file(path: str) -> bool:
    """Whether it is a TFLite or ONNX file, by its name."""
    return path.endswith((".tflite", ".onnx")) and os.path.isfile(path)


def savedmodel_folder(path: str) -> str | None:
    """The folder of a SavedModel: itself, or the highest version in it."""
    if _is_savedmodel(path):
        return path
    names = os.listdir(path) if os.path.isdir(path) else []
    versions = [
        name
        for name in names
        if name.isdecimal() and _is_savedmodel(os.path.join(path, name))
    ]
    return os.path.join(path, max(versions, key=int)) if versions else None


def run_and_model(path: str) -> tuple[str, str] | None:
    """The folder of a run and the .keras file in it: the one named, or the best."""
    if os.path.isdir(path):
        folder, file = path, os.path.join(path, "best.keras")
    else:
        folder, file = os.path.dirname(path) or ".", path
    in_run = os.path.isfile(os.path.join(folder, "config.json"))
    if not in_run or not file.endswith(".keras") or not os.path.isfile(file):
        return None
    return folder, file


def _is_savedmodel(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "saved_model.pb"))
