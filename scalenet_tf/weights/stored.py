"""What model files say of their sizes, checked before anything is unpacked or built."""

from __future__ import annotations

import concurrent.futures
import io
import math
import os
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import h5py
import keras

from scalenet_tf.files import parse_json

# Keras stores without compression; weights that somebody compressed shrink little.
MAX_EXPANSION = 20
SMALL = 2**24  # bytes that any file may expand to
# Numbers of a model over those in its file: LoRA's are in the kernels there.
_MAX_UNSTORED = 4
_MAX_MEMBERS = 1000
_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"


def check_archive(path: str, custom_objects: Mapping[str, Any] | None = None) -> None:
    """Checks a `.keras` file: that it is whole, and what loading it would take.

    Members expand to at most `MAX_EXPANSION` times the file (or to `SMALL`), have
    plain names and the bytes that their checksums were made of; the arrays are bounded
    as by `check_arrays`, and the model has few more numbers than there are in them.

    Raises:
        ValueError, zipfile.BadZipFile: It is not so.
        Exception: As reading a damaged archive, or Keras, raises them.
    """
    size = os.path.getsize(path)
    with zipfile.ZipFile(path) as archive:
        _check_members(archive.infolist(), size)
        damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"its member {damaged!r} is damaged")
        config = parse_json(archive.read(_CONFIG))
        weights = io.BytesIO(archive.read(_WEIGHTS))
    stored = check_arrays(weights, size)
    needed = _weights_of(config, custom_objects)
    if needed > max(SMALL // 4, _MAX_UNSTORED * stored):
        raise ValueError(
            f"its {_CONFIG} describes a model of {needed:,} numbers, and its "
            f"{_WEIGHTS} holds {stored:,}"
        )


def check_arrays(file: str | IO[bytes], size: int) -> int:
    """Checks what the arrays of an HDF5 file take in memory.

    Args:
        file: The file.
        size: Bytes that it has on the disk.

    Returns:
        How many numbers there are in them.

    Raises:
        ValueError: Together they expand to more than `MAX_EXPANSION` times the size
            and `SMALL`, or one is in another file.
        Exception: As h5py raises them for a damaged file.
    """
    numbers = total = 0

    def add(name: str, item: Any) -> None:
        nonlocal numbers, total
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise ValueError(f"its array {name!r} is in another file")
            numbers += math.prod(item.shape)
            total += math.prod(item.shape) * item.dtype.itemsize

    with h5py.File(file, "r") as opened:
        opened.visititems(add)
    _check_expansion(total, size)
    return numbers


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    names = [member.filename for member in members]
    if len({*names}) < len(names) or len(names) > _MAX_MEMBERS:
        raise ValueError(f"it must have at most {_MAX_MEMBERS} members of unique names")
    for name in names:
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise ValueError(f"its member {name!r} would be outside of its folder")
    _check_expansion(sum(member.file_size for member in members), size)
    missing = [name for name in (_CONFIG, _WEIGHTS) if name not in names]
    if missing:
        raise ValueError(f"it has no {missing[0]}")


def _check_expansion(total: int, size: int) -> None:
    allowed = max(SMALL, MAX_EXPANSION * size)
    if total > allowed:
        raise ValueError(
            f"its {size:,} bytes say that they become {total:,}; at most "
            f"{MAX_EXPANSION} times as many are unpacked"
        )


def _weights_of(config: Any, custom_objects: Mapping[str, Any] | None) -> int:
    """Numbers in the weights of a model; none of them is made."""
    described = {**config, "compile_config": None}
    classes = {**_registered(described), **(custom_objects or {})}

    def build() -> int:
        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object(described, classes)
        return sum(math.prod(weight.shape) for weight in model.weights)

    # Keras keeps by thread which variables it has yet to fill, and counts names.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(build).result()


def _registered(config: Any) -> dict[str, Any]:
    """The classes of a configuration that this thread knows, also those of a scope."""
    names, parts = set(), [config]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            names |= {str(part.get(k)) for k in ("class_name", "registered_name")}
            parts += part.values()
        elif isinstance(part, list):
            parts += part
    found = {name: keras.saving.get_registered_object(name) for name in names}
    return {name: kind for name, kind in found.items() if kind is not None}
