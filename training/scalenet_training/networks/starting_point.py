"""The architecture and the weights that a command starts from."""

from __future__ import annotations

import os

import keras

import scalenet_tf
from scalenet_tf import Architecture
from scalenet_tf.allocation import seed_architecture
from scalenet_tf.models import HEAD
from scalenet_tf.weights import (
    LoadReport,
    check_weights,
    count_arrays,
    load_weights,
    weights_classes,
)
from scalenet_training.errors import SettingError
from scalenet_training.settings.inputs import NETWORK, SEED, split_network


def resolve_architecture(model: str, option: str = "`model`") -> Architecture:
    """The architecture of a public name, of a JSON file, or of file.json:Name.

    With `seed:` before it, that of its seed network, to learn an allocation with.

    Args:
        model: The name or the file.
        option: The option that it came by, for messages.

    Raises:
        SettingError: There is no such network or file.
        ValueError: The architecture is not valid.
    """
    NETWORK.check(option, model)
    file, name = split_network(model.removeprefix(SEED))
    if file is None:
        architecture = scalenet_tf.get_architecture(name)
    else:
        architecture = scalenet_tf.load_architecture(file, name or None)
    return seed_architecture(architecture) if model.startswith(SEED) else architecture


def start_from(model: keras.Model, path: str) -> LoadReport:
    """Loads the weights of a file; the classifier only where it has as many classes.

    Raises:
        SettingError: It is no such file, of another network, or has weights that are
            NaN or infinite, or negative variances. The model is left as it was.
    """
    if not os.path.isfile(path) or not path.endswith((".weights.h5", ".keras")):
        raise SettingError(
            "`weights` must be the path of a .weights.h5 or .keras file. "
            f"Received: {path!r}."
        )
    try:
        if path.endswith(".keras"):
            donor = scalenet_tf.load_model(path, compile=False)
            found, loaded = len(donor.weights), _copy_layers(donor, model)
        else:
            found, loaded = count_arrays(path), _load_file(model, path)
    except ValueError as error:
        raise SettingError(f"`weights` {path!r}: {error}") from error
    new_classifier = loaded < len(model.weights)
    return LoadReport(
        source=repr(path),
        found=found,
        loaded=loaded,
        new_classes=model.output_shape[-1] if new_classifier else None,
    )


def _load_file(model: keras.Model, path: str) -> int:
    """Loads a weights file; returns the number of arrays that were used."""
    check_weights(path, classes=None, channels=model.input_shape[-1])
    part = model
    if weights_classes(path) != model.output_shape[-1]:
        top = model.get_layer(HEAD)
        part = keras.Model(model.inputs, top.input, name=model.name)
    load_weights(part, path)
    return len(part.weights)


def _copy_layers(donor: keras.Model, model: keras.Model) -> int:
    """Copies weights by the layers' names, after all of them were found to fit.

    Returns the number of arrays that were copied.
    """
    given, wanted = (
        {layer.name: layer for layer in part.layers if layer.weights}
        for part in (donor, model)
    )
    if given.keys() - {HEAD} != wanted.keys() - {HEAD}:
        odd = min((given.keys() ^ wanted.keys()) - {HEAD})
        raise SettingError(f"is another network: layer {odd!r} is not in both.")
    copies = []
    for name, layer in wanted.items():
        weights = given[name].get_weights() if name in given else []
        if [array.shape for array in weights] == [w.shape for w in layer.weights]:
            copies.append((layer, weights))
        elif name != HEAD:
            raise SettingError(f"is another network: layer {name!r} has other shapes.")
    for layer, weights in copies:
        layer.set_weights(weights)
    return sum(len(weights) for _, weights in copies)
