"""Saved models, loaded with what Keras does not look at.

Keras' `.h5` format keeps the arrays of a layer in an order, those that train first,
and matches them with the model's by that order alone. Version 0.1.0 did not save
which layers of an SA block were frozen one by one, so that its files of such models
have another order than the model that Keras builds from them. The names that stand
beside the arrays tell which layers were frozen.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import h5py
import keras

from scalenet_tf.files import parse_json, unreadable
from scalenet_tf.layers import ScaleAggregation
from scalenet_tf.weights.stored import check_archive, check_arrays
from scalenet_tf.weights.tensors import check_model

_CONFIG = "model_config"


def load_model(
    path: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
) -> keras.Model:
    """Loads a `.keras` or `.h5` file as `keras.saving.load_model` does, and checks it.

    Args:
        path: File of a whole model that has networks of this package in it.
        custom_objects: Classes and functions that are not registered, by name.
        compile: Whether to compile the model as the saved one was.

    Returns:
        The model that was saved: weights, and which of its layers train. An `.h5`
        file of version 0.1.0 with layers of an SA block frozen one by one, which
        Keras refuses or reads in a wrong order, is read right.

    Raises:
        ValueError: There is no such file, it cannot be read, says that it needs far
            more memory than its size (see `weights.stored`), has a layer of Python code
            (`Lambda`), a weight in it is NaN or infinite, or a moving variance
            negative.
    """
    path = os.fspath(path)
    if not os.path.isfile(path) or not path.endswith((".keras", ".h5")):
        raise ValueError(
            "`path` must be that of an existing .keras or .h5 file. "
            f"Received: {path!r}."
        )
    with unreadable(f"{path!r} is not a saved model, or is cut off or damaged"):
        if path.endswith(".keras"):
            check_archive(path, custom_objects)
        else:
            check_arrays(path, os.path.getsize(path))
        with _in_keras_order(path) as ordered:
            model = keras.saving.load_model(
                ordered, custom_objects=custom_objects, compile=compile
            )
    check_model(repr(path), model)
    return model


@contextlib.contextmanager
def _in_keras_order(path: str) -> Iterator[str]:
    """Gives the path, or that of a copy whose configuration fits its arrays."""
    config = None if path.endswith(".keras") else _completed_config(path)
    if config is None:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(path, os.path.join(folder, "model.h5"))
        with h5py.File(copy, "r+") as file:
            file.attrs[_CONFIG] = json.dumps(config).encode()
        yield copy


def _completed_config(path: str) -> dict[str, Any] | None:
    """The configuration in an `.h5` file with what is frozen; None if all is there."""
    with h5py.File(path) as file:
        if _CONFIG not in file.attrs:
            raise ValueError(
                "it holds weights without a model: build the model and call its "
                "load_weights"
            )
        config = parse_json(file.attrs[_CONFIG])
        groups = file["model_weights"]
        changed = False
        for layer in config["config"]["layers"]:
            for block in _blocks(layer):
                frozen = _frozen(block, _array_names(groups[layer["config"]["name"]]))
                if frozen is not None:
                    block["frozen"] = frozen
                    changed = True
    return config if changed else None


def _blocks(layer: Any) -> Iterator[dict[str, Any]]:
    """The configurations of the SA blocks in a layer, a model's or its own."""
    if isinstance(layer, dict):
        if str(layer.get("class_name")).endswith(f">{ScaleAggregation.__name__}"):
            yield layer["config"]
        for part in layer.values():
            yield from _blocks(part)
    elif isinstance(layer, list):
        for part in layer:
            yield from _blocks(part)


def _array_names(group: h5py.Group) -> list[str]:
    attribute = "weight_names"
    names = list(group.attrs.get(attribute, ()))
    # What is too long for one attribute is in several.
    for part in map(f"{attribute}{{}}".format, itertools.count()):
        if part not in group.attrs:
            break
        names += list(group.attrs[part])
    return [n.decode() if isinstance(n, bytes) else str(n) for n in names]


def _frozen(config: Mapping[str, Any], names: Sequence[str]) -> list[str] | None:
    """The sublayers whose being frozen explains an order of arrays.

    None where the configuration explains it as it is, or nothing does.
    """
    block = ScaleAggregation.from_config(dict(config))
    block.build((None, None, None, 1))  # for the names of its arrays alone
    parts = (name.split("/") for name in names)
    found = [n[-2:] for n in parts if len(n) > 2 and n[-3] == block.name]
    if found == block.saved_order():
        return None
    sublayers = block.sublayers
    for count in range(len(sublayers) + 1):
        for frozen in itertools.combinations(sorted(sublayers), count):
            for name, sublayer in sublayers.items():
                sublayer.trainable = name not in frozen
            if found == block.saved_order():
                return list(frozen)
    return None
