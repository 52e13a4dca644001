"""What is known of an exported model, in the file `model_card.json` beside it."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras

import scalenet_tf
from scalenet_tf.export import (
    FORMATS,
    Exported,
    ExportError,
    ExportFormat,
    Verification,
    find_exported,
    open_exported,
)
from scalenet_tf.export.formats import versions_in
from scalenet_tf.files import read_json
from scalenet_tf.profiling import count_parameters
from scalenet_training.errors import UsageError, usage_errors
from scalenet_training.networks.saved_network import SavedNetwork
from scalenet_training.runs.record import RunRecord
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.runs.versions import versions

MODEL_CARD = "model_card.json"


def describe_network(network: SavedNetwork, model: keras.Model) -> dict[str, Any]:
    """Architecture, size and training; no paths outside the working folder.

    `architecture` and `training` are None for a file that is in no run's folder.
    """
    return {
        "network": model.name,
        "architecture": network.record and network.record.architecture,
        "trainable_parameters": count_parameters(model),
        "macs": _macs(model),
        "training": network.record and _training(network.record, network.path),
    }


def write_model_card(
    folder: str,
    name: str,
    content: Mapping[str, Any],
    verification: Verification,
    formats: Sequence[ExportFormat] = FORMATS,
) -> None:
    """Writes the card of a version, with the SHA-256 of each of its files."""
    card = {
        "name": name,
        "version": int(os.path.basename(folder)),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **content,
        "verification": {
            "images": verification.images,
            "error": verification.error,
            "errors": dict(verification.errors),
            "bound": verification.bound,
            "top1_agreement": verification.agreement,
        },
        "versions": {**versions(), **_runtime_versions(formats)},
        "files": file_hashes(folder),
    }
    path = os.path.join(folder, MODEL_CARD)
    # Of a path that is not UTF-8, what cannot be written becomes an escape of JSON's.
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(card, file, indent=1, ensure_ascii=False)
        file.write("\n")


def file_hashes(folder: str) -> dict[str, str]:
    """SHA-256 of each file of a version but its card, by relative path."""
    hashes = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            hashes[os.path.relpath(path, folder).replace(os.sep, "/")] = _sha256(path)
    hashes.pop(MODEL_CARD, None)
    return dict(sorted(hashes.items()))


def _sha256(path: str) -> str:
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
            if os.path.isfile(file) and _sha256(file) != digest:
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


def _training(record: RunRecord, path: str) -> dict[str, Any]:
    run = record.config
    saved = os.path.splitext(os.path.basename(path))[0]
    return {
        "command": _without_paths(record.command),
        "dataset": _without_path(run.dataset),
        "train_split": run.train_split,
        "eval_split": record.eval_split,
        "on_damaged": run.on_damaged,
        "epochs": run.epochs,
        "saved": saved,
        "metrics": _metrics(path, saved),
        "versions": record.versions,
    }


def _metrics(path: str, saved: str) -> Mapping[str, float] | None:
    """The row of metrics.csv at whose end the model was saved."""
    folder = RunFolder(os.path.dirname(path))
    rows = folder.rows()
    if not rows or saved not in ("best", "last"):
        return None
    if saved == "last":
        return rows[-1]
    return folder.best_row()


def _without_paths(command: Sequence[str]) -> list[str]:
    program, *arguments = command
    return [os.path.basename(program), *map(_without_path, arguments)]


def _without_path(argument: str) -> str:
    """Cuts a path that leaves the working folder to its last part."""
    option, sign, value = argument.rpartition("=")
    if not value.startswith(("/", "~", "..")):
        return argument
    return f"{option}{sign}{os.path.basename(os.path.normpath(value))}"


def _macs(model: keras.Model) -> int | None:
    """None for a model that takes any size."""
    return scalenet_tf.count_macs(model) if all(model.input_shape[1:3]) else None


def _runtime_versions(formats: Sequence[ExportFormat]) -> dict[str, str]:
    found = {}
    for name in (name for entry in formats for name in entry.packages):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
