"""Exports on the disk: whole, and as they were written, by the card beside them.

Imports no TensorFlow by itself.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

from scalenet_tf.export.formats import (
    FORMATS,
    ExportFormat,
    find_exported,
    versions_in,
)
from scalenet_tf.export.interface import ExportError
from scalenet_tf.export.runtime import Exported, open_exported
from scalenet_tf.files import read_json
from scalenet_training.errors import UsageError, usage_errors

MODEL_CARD = "model_card.json"
# How a dataset's name begins in a card that leaves out its path: of the machine that
# trained the model, and nobody else's concern.
ELSEWHERE = ".../"


def sha256(path: str) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_model_card(exported: str) -> dict[str, Any]:
    """The card beside an exported file or in a SavedModel's folder; {} without one."""
    folder = exported if os.path.isdir(exported) else os.path.dirname(exported)
    try:
        content = read_json(os.path.join(folder, MODEL_CARD))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def training_data(exported: str) -> dict[str, str]:
    """What the card says of the data; {} without one, or where it is damaged."""
    training = read_model_card(exported).get("training")
    names = ("dataset", "eval_split", "on_damaged")
    found = {n: training.get(n) for n in names} if isinstance(training, dict) else {}
    return {name: text for name, text in found.items() if isinstance(text, str)}


def open_intact(path: str, formats: Sequence[ExportFormat] = FORMATS) -> Exported:
    """Opens an export whose files are those of which its card has the SHA-256.

    What a flipped bit makes of a model is not always an error: it may be another model.

    Raises:
        UsageError: A file has changed; or as `open_exported` fails.
    """
    with usage_errors():
        _, place = find_exported(path, formats) or (None, path)
        for file, digest in _files(place).items():
            # One that is gone may be of no use to the runtime.
            if os.path.isfile(file) and sha256(file) != digest:
                raise UsageError(
                    f"{file!r} has changed since it was exported, by its SHA-256 in "
                    f"{MODEL_CARD}. Export the model again, or remove {MODEL_CARD} if "
                    "the change is yours."
                )
        try:
            return open_exported(path, formats=formats)
        except ExportError:
            check_complete(place)
            raise


def check_complete(path: str) -> None:
    """Checks that no file of an export, or of the newest in a folder, is gone.

    Raises:
        UsageError: A file that the card names is.
    """
    for place in (path, *versions_in(path)):
        for file in _files(place):
            if not os.path.exists(file):
                raise UsageError(
                    f"{file!r} is missing, which {MODEL_CARD} names. Export the model "
                    "again."
                )


def _files(place: str) -> dict[str, str]:
    """SHA-256 of the files that a card names, by path; {} without a card."""
    folder = place if os.path.isdir(place) else os.path.dirname(place)
    written = read_model_card(place).get("files")
    return {
        os.path.join(folder, name): digest
        for name, digest in (written.items() if isinstance(written, dict) else ())
        if not os.path.isabs(name) and ".." not in name.split("/")
    }
