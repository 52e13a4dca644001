"""Checkpoints of PyTorch: the dictionary of tensors in a file or a mapping.

Programs save more than tensors, put them under a key of their own, and wrap models
so that every name gets a prefix. What comes out are the names of the model itself.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from scalenet_tf.extras import import_extra
from scalenet_tf.weights.tensors import COUNTERS, is_torch, unfit_tensor

_TORCH_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".pth.tar")
_DEPTH = 3  # of dictionaries in dictionaries that are looked into
_NO_CHECKPOINTS = {
    b"version https://git-lfs": "a Git LFS pointer: run `git lfs pull` in its folder",
    b"<!doctype html": "a web page: download the file itself",
    b"<html": "a web page: download the file itself",
}


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The tensors of a PyTorch model.

    Attributes:
        source: Where they came from, as messages name it.
        tensors: By the names of the model, without a prefix that all of them have.
        ignored: Names of counters, which are no weights.
    """

    source: str
    tensors: Mapping[str, Any]
    ignored: tuple[str, ...]

    @property
    def classes(self) -> int | None:
        """Classes of the classifier `fc`; None where there is none.

        Raises:
            ValueError: `fc.bias` has not one axis.
        """
        if "fc.bias" not in self.tensors:
            return None
        shape = tuple(np.shape(self.tensors["fc.bias"]))
        if len(shape) != 1 or not shape[0]:
            raise ValueError(
                f"tensor 'fc.bias' of {self.source} must have a number for each class. "
                f"Received: shape {shape}."
            )
        return shape[0]


def read_pytorch_weights(
    source: str | os.PathLike[str] | Mapping[str, Any], key: str | None = None
) -> Checkpoint:
    """Reads the tensors of a PyTorch checkpoint, by the names of its model.

    Args:
        source: Path of a `.pth`, `.pt`, `.ckpt`, `.bin` or `.pth.tar` file (read by
            `torch.load` with `weights_only`) or of a `.safetensors` file, or what such
            a file holds. Dictionaries in it are looked into for the tensors.
        key: Where the tensors are, `ema.model` for those at `["ema"]["model"]`.
            Needed where there are several dictionaries of tensors.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: The package that reads the file is not installed.
        ValueError: The file cannot be read; it has no dictionary of tensors, or
            several and no `key`.
    """
    if isinstance(source, Mapping):
        name, content = "`source`", source
    else:
        path = os.fspath(source)
        name, content = repr(path), _read(path)
    found = _chosen(name, content, key)
    prefix = _common_prefix([n for n in found if not n.endswith(COUNTERS)])
    plain = {n.removeprefix(prefix): tensor for n, tensor in found.items()}
    ignored = tuple(n for n in plain if n.endswith(COUNTERS))
    tensors = {n: tensor for n, tensor in plain.items() if n not in ignored}
    return Checkpoint(name, tensors, ignored)


def _chosen(source: str, content: Any, key: str | None) -> dict[str, Any]:
    candidates = dict(_dictionaries_of_tensors(content))
    listed = ", ".join(repr(k) for k in candidates)
    if key is not None:
        if key not in candidates:
            raise ValueError(
                f"`key` must lead to a dictionary of tensors in {source}, of which it "
                f"has: {listed or 'none'}. Received: key={key!r}."
            )
    elif len(candidates) > 1:
        raise ValueError(
            f"{source} has several dictionaries of tensors: {listed}. Choose one by "
            "`key` (--key)."
        )
    elif not candidates:
        kind = type(content).__name__
        holds = (
            f", with keys {list(content)[:5]}" if isinstance(content, Mapping) else ""
        )
        raise ValueError(
            f"{source} must hold a dictionary from names to tensors (a state_dict). "
            f"Received: {kind}{holds}."
        )
    found = candidates[key] if key is not None else next(iter(candidates.values()))
    return {str(name): tensor for name, tensor in found.items()}


def _dictionaries_of_tensors(
    content: Any, key: str = ""
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Key and content of each state_dict inside: one with tensors by module paths.

    The state of an optimizer is none: it has its tensors by number.
    """
    if not isinstance(content, Mapping):
        return
    if any(
        isinstance(name, str) and "." in name and _is_tensor(value)
        for name, value in content.items()
    ):
        yield key, content
        return
    for name, value in content.items():
        path = f"{key}.{name}" if key else str(name)
        if isinstance(name, str) and path.count(".") < _DEPTH:
            yield from _dictionaries_of_tensors(value, path)


def _is_tensor(value: Any) -> bool:
    return is_torch(value) or hasattr(value, "__array__")


def _common_prefix(names: list[str]) -> str:
    """What wrappers put before every name: `module.`, `_orig_mod.`, `model.`."""
    prefix = ""
    for level in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(level)) > 1:
            break
        prefix += f"{level[0]}."
    return prefix


def _read(path: str) -> Any:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no checkpoint file at {path!r}.")
    lower = path.lower()
    if not lower.endswith((".safetensors", *_TORCH_SUFFIXES)):
        raise ValueError(
            f"`source` must be a {', '.join(_TORCH_SUFFIXES)} or .safetensors file, or "
            f"a mapping from names to arrays. Received: {path!r}."
        )
    _check_beginning(path)
    return (_read_safetensors if lower.endswith(".safetensors") else _read_torch)(path)


def _check_beginning(path: str) -> None:
    """Says what a file is that a download has left in a checkpoint's place."""
    with open(path, "rb") as file:
        beginning = file.read(512).lstrip().lower()
    if not beginning:
        raise ValueError(f"{path!r} is empty: save or download it again.")
    for begins, what in _NO_CHECKPOINTS.items():
        if beginning.startswith(begins):
            raise ValueError(f"{path!r} is {what}.")


def _read_safetensors(path: str) -> dict[str, Any]:
    safetensors = import_extra("safetensors", "safetensors", "convert", repr(path))
    tensors = {}
    try:
        with safetensors.safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                try:
                    tensors[name] = file.get_tensor(name)
                except (AttributeError, TypeError) as error:  # numpy has no such type
                    kind = file.get_slice(name).get_dtype()
                    raise unfit_tensor(repr(path), name, kind) from error
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path!r} is not a safetensors file: {error}.") from error
    return tensors


def _read_torch(path: str) -> Any:
    torch = import_extra("torch", "torch", "convert", repr(path))
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file it cannot read
        raise ValueError(_unreadable(path, str(error))) from error


def _unreadable(path: str, reason: str) -> str:
    what = f"{path!r} is not a PyTorch checkpoint of plain tensors"
    named = re.search(r"GLOBAL ([\w.]+)", reason)
    if named is None:
        said = re.search(r"error: (.+)", reason) or re.search(r"(.+)", reason)
        return f"{what}: {said[1] if said else 'it cannot be read'}"
    return (
        f"{what}: it refers to {named[1]}, and to read that is to run code that the "
        "file names. In the program that wrote it, save the tensors alone: "
        "torch.save(model.state_dict(), path)."
    )
