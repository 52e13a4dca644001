"""What is known of an exported model, in the file `model_card.json` beside it."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras

import scalenet_tf
from scalenet_tf.export import FORMATS, ExportFormat, Verification
from scalenet_tf.profiling import count_parameters
from scalenet_training.networks.exported_files import ELSEWHERE, MODEL_CARD, sha256
from scalenet_training.networks.saved_network import SavedNetwork
from scalenet_training.runs.record import RunRecord
from scalenet_training.runs.versions import versions


def describe_network(network: SavedNetwork, model: keras.Model) -> dict[str, Any]:
    """Architecture, size and training; no paths outside the working folder.

    `architecture` and `training` are None for a file that is in no run's folder.
    """
    return {
        "network": model.name,
        "architecture": network.record and network.record.architecture,
        "trainable_parameters": count_parameters(model),
        "macs": _macs(model),
        "training": network.record and _training(network.record, network),
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
            hashes[os.path.relpath(path, folder).replace(os.sep, "/")] = sha256(path)
    hashes.pop(MODEL_CARD, None)
    return dict(sorted(hashes.items()))


def _training(record: RunRecord, network: SavedNetwork) -> dict[str, Any]:
    run = record.config
    return {
        "command": without_paths(record.command),
        "dataset": _dataset(run.dataset),
        "train_split": run.train_split,
        "eval_split": record.eval_split,
        "on_damaged": run.on_damaged,
        "epochs": run.epochs,
        "saved": network.saved,
        "metrics": network.measured(),
        "versions": record.versions,
    }


def _dataset(name: str) -> str:
    """A path that leaves the folder is cut so that no dataset has what is left."""
    cut = without_path(name)
    return name if cut == name else f"{ELSEWHERE}{cut}"


def without_paths(command: Sequence[str]) -> list[str]:
    """The words of a command, each path that leaves the folder cut to its last part."""
    program, *arguments = command
    return [os.path.basename(program), *map(without_path, arguments)]


def without_path(argument: str) -> str:
    """Cuts a path that leaves the working folder to its last part.

    Args:
        argument: A path, or anything else, which stays; also after `--option=`.
    """
    option, sign, value = argument.rpartition("=")
    if not value.startswith(("/", "~", "..")):
        return argument
    return f"{option}{sign}{os.path.basename(os.path.normpath(value))}"


def _macs(model: keras.Model) -> int | None:
    """None for a model that takes any size, or whose layers cannot be counted."""
    with contextlib.suppress(ValueError):
        return scalenet_tf.count_macs(model)
    return None


def _runtime_versions(formats: Sequence[ExportFormat]) -> dict[str, str]:
    found = {}
    for name in (name for entry in formats for name in entry.packages):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
