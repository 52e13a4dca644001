"""Weights in files of Keras: `.weights.h5`, and whole models, `.keras` and `.h5`."""

from __future__ import annotations

import abc
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import h5py
import keras

from scalenet_tf.files import unreadable
from scalenet_tf.layers.calls import input_of
from scalenet_tf.layers.copying import copy_weights, is_quantized, saved_shapes
from scalenet_tf.layers.normalization import SynchronizedBatchNormalization
from scalenet_tf.names import HEAD, STEM, STEM_ENTRANCES, find_network, pytorch_modules
from scalenet_tf.shipped import find_shipped, list_weights
from scalenet_tf.weights.saved_models import load_model
from scalenet_tf.weights.stored import check_arrays
from scalenet_tf.weights.tensors import check_model

_SUFFIXES = (".weights.h5", ".keras", ".h5")
_CHECKPOINTS = "https://github.com/Eli-YiLi/ScaleNet"


class WeightsFile(abc.ABC):
    """The weights of a network in a file.

    Attributes:
        path: The file.
        arrays: Arrays in the file.
        channels: Channels of the images.
        classes: Classes of the top; `None` where there is no top.
    """

    path: str
    arrays: int
    channels: int
    classes: int | None

    def check(self, classes: int | None, channels: int) -> None:
        """Checks that the weights fit a number of classes and of input channels.

        Args:
            classes: Classes of the model's top; `None` for a model without it.
            channels: Channels of the input.

        Raises:
            ValueError: They do not fit; the message names the argument.
        """
        if self.channels != channels:
            raise ValueError(
                f"the input must have {self.channels} channels, as the weights in "
                f"{self.path!r} do. Received: {channels} channels in `input_shape` or "
                "`input_tensor`."
            )
        if classes not in (None, self.classes):
            holds = "no top" if self.classes is None else f"{self.classes} classes"
            raise ValueError(
                f"`classes` must be what the weights in {self.path!r} have: {holds}. "
                f"Received: classes={classes}, include_top=True. Pass these classes, "
                "or include_top=False and put a head of your own on the network."
            )

    @abc.abstractmethod
    def load(self, model: keras.Model) -> None:
        """Loads them into a model of the same network; those of a top also without it.

        Raises:
            ValueError: They are those of another network, or a weight is NaN or
                infinite, or a moving variance negative. The model is left as it was.
        """


def open_weights(
    path: str | os.PathLike[str], network: str | None = None
) -> WeightsFile:
    """Opens a file of weights, or of a whole model with a network of this package.

    Args:
        path: The file, or the name of weights that come with the package.
        network: Public name of the network they are for, empty for one that has none;
            `None` if it is not known. With it the data alone, `"cifar10"`, names
            weights of the package.

    Raises:
        ValueError: There is no such file, or it holds no weights of this package.
    """
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        raise ValueError(
            "`weights` must be None, the path of a file, or a name of weights that "
            f"come with the package. Received: weights={path!r}."
        )
    path = os.fspath(path)
    shipped = find_shipped(path) or find_shipped(f"{path}:{network}")
    known = network or "a network of your own"
    if shipped is not None:
        if network not in (None, shipped.network):
            raise ValueError(
                f"`weights` must be those of {known}. Received: {shipped.name!r}."
            )
        shipped.check()
        return _Donor(shipped.path)
    if path == "imagenet":
        raise ValueError(
            "no ImageNet weights come with this package. The README of the authors' "
            f"code, {_CHECKPOINTS}, says where their checkpoints are. Convert one "
            "(`scalenet convert scalenet50.pth --model ScaleNet50 --output "
            "scalenet50.weights.h5`) and pass the path of the result as `weights`. "
            "Received: weights='imagenet'."
        )
    if not path.endswith(_SUFFIXES) or not os.path.isfile(path):
        raise ValueError(
            "`weights` must be None or the path of an existing .weights.h5, .keras or "
            ".h5 file, or weights that come with the package: "
            f"{', '.join(list_weights())}. Received: weights={path!r}"
            f"{'' if network is None else f' for {known}'}."
        )
    return _Arrays(path) if path.endswith(_SUFFIXES[0]) else _Donor(path)


class _Arrays(WeightsFile):
    """A `.weights.h5` file: arrays in Keras' own order of layers."""

    def __init__(self, path: str):
        self.path = path
        names: list[str] = []
        with unreadable(
            f"`weights` must hold the weights of a network of this package. {path!r} "
            "cannot be read as such"
        ):
            check_arrays(path, os.path.getsize(path))
            with h5py.File(path) as file:
                stem = file["layers/conv2d/vars/0"].shape
                head = file.get("layers/dense/vars/0")
                if len(stem) != 4 or (head is not None and len(head.shape) != 2):
                    raise ValueError(f"its kernels have the shapes {stem}, {head}")
                self.channels = stem[2]
                self.classes = None if head is None else head.shape[1]
                file["layers"].visititems(
                    lambda name, item: (
                        names.append(name) if isinstance(item, h5py.Dataset) else None
                    )
                )
        self.arrays = len(names)

    def load(self, model: keras.Model) -> None:
        model = _without_front(model)
        has_top = any(layer.name == HEAD for layer in model.layers)
        expected = len(model.weights)
        if not has_top and self.classes is not None:
            expected += 2
        if self.arrays != expected:
            raise ValueError(
                f"`weights` must be those of {model.name}, {expected} arrays. "
                f"Received: {self.path!r} with {self.arrays}."
            )
        before = model.get_weights()
        try:
            self._load_and_check(model)
        except ValueError:
            model.set_weights(before)
            raise

    def _load_and_check(self, model: keras.Model) -> None:
        other = (
            f"`weights` must be those of {model.name}. Received: {self.path!r}, which "
            "is damaged, or in which shapes differ"
        )
        with unreadable(other), _named_as(self.path, model) as path:
            model.load_weights(path)
        check_model(repr(self.path), model)


def _without_front(model: keras.Model) -> keras.Model:
    """The network alone, whose arrays a file has, without layers in front of it."""
    entrance = input_of(model, STEM_ENTRANCES)
    if entrance is None or entrance is model.inputs[0]:
        return model
    return keras.Model(entrance, model.outputs[0], name=model.name)


@contextlib.contextmanager
def _named_as(path: str, model: keras.Model) -> Iterator[str]:
    """The file, or a copy with the model's names of batch norms.

    Keras names the groups of a file by the classes of the layers; those of batch norms
    over a replica's examples and over all replicas' differ in nothing else.
    """
    kinds = ("batch_normalization", "synchronized_batch_normalization")
    synchronized = any(
        isinstance(layer, SynchronizedBatchNormalization) for layer in model.layers
    )
    other, wanted = kinds if synchronized else kinds[::-1]
    names: list[str] = []
    with h5py.File(path) as file:
        file.visit(names.append)
    odd = [name for name in names if name.rpartition("/")[2].startswith(other)]
    if not odd:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, os.path.basename(path))
        shutil.copyfile(path, copy)
        with h5py.File(copy, "a") as file:
            for name in odd:
                group, slash, last = name.rpartition("/")
                file.move(name, group + slash + wanted + last.removeprefix(other))
        yield copy


class _Donor(WeightsFile):
    """A whole model: its network, whose layers are known by their names."""

    def __init__(self, path: str):
        self.path = path
        model = load_model(path, compile=False)
        network = find_network(model)
        layers = {} if network is None else _own_layers(network)
        if STEM.conv not in layers:
            raise ValueError(
                "`weights` must hold the weights of a network of this package. "
                f"Received: {path!r}, which holds the model {model.name!r}."
            )
        self._layers = layers
        self.arrays = len(model.weights)
        self.channels = layers[STEM.conv].kernel.shape[2]
        self.classes = layers[HEAD].units if HEAD in layers else None

    def load(self, model: keras.Model) -> None:
        wanted = _own_layers(model)
        given = {
            name: layer
            for name, layer in self._layers.items()
            if name != HEAD or HEAD in wanted
        }
        odd = sorted(given.keys() ^ wanted.keys())
        if odd:
            raise self._other(model, f"layer {odd[0]!r} is not in both")
        for name, layer in wanted.items():
            if any(map(is_quantized, given[name]._flatten_layers())):
                raise self._other(model, f"layer {name!r} is quantised")
            if saved_shapes(given[name]) != saved_shapes(layer):
                raise self._other(model, f"layer {name!r} has other shapes")
        for name, layer in wanted.items():
            copy_weights(given[name], layer)

    def _other(self, model: keras.Model, difference: str) -> ValueError:
        return ValueError(
            f"`weights` must be those of {model.name}. Received: {self.path!r}: "
            f"{difference}."
        )


def _own_layers(model: keras.Model) -> dict[str, Any]:
    """The layers with weights that are this package's, by their names."""
    layers = {layer.name: layer for layer in model.layers}
    return {name: layers[name] for name in pytorch_modules(layers) if name in layers}
