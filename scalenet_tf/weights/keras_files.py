"""Weights files of Keras, `.weights.h5`, checked and loaded."""

from __future__ import annotations

import contextlib
import os

import h5py
import keras

from scalenet_tf.files import unreadable
from scalenet_tf.names import HEAD
from scalenet_tf.weights.stored import check_arrays
from scalenet_tf.weights.tensors import check_model


def check_weights(
    path: str | os.PathLike[str], classes: int | None, channels: int
) -> None:
    """Checks that a weights file fits the number of classes and input channels.

    Args:
        path: A `.weights.h5` file.
        classes: Classes of the model's top; `None` for a model without it.
        channels: Channels of the input.

    Raises:
        ValueError: It does not fit, or is no such file; the message names the argument.
    """
    path = os.fspath(path)
    if path == "imagenet":
        raise ValueError(
            "no ImageNet weights come with this package. Convert the authors' "
            "checkpoint (`python training/convert.py checkpoint.pth --model ScaleNet50 "
            "--output scalenet50.weights.h5`) and pass the path of the result as "
            "`weights`. Received: weights='imagenet'."
        )
    if not path.endswith(".weights.h5") or not os.path.isfile(path):
        raise ValueError(
            "`weights` must be None or the path of an existing `.weights.h5` file. "
            f"Received: weights={path!r}."
        )
    stem, head = _stem_and_head_shapes(path)
    if stem[2] != channels:
        raise ValueError(
            f"the input must have {stem[2]} channels, as the weights in {path!r} do. "
            f"Received: {channels} channels in `input_shape` or `input_tensor`."
        )
    if classes is not None and (head is None or head[1] != classes):
        holds = "no top" if head is None else f"{head[1]} classes"
        raise ValueError(
            f"`classes` must be what the weights in {path!r} have: {holds}. "
            f"Received: classes={classes}, include_top=True."
        )


def load_weights(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Loads a weights file of the same network; one with a top also without it.

    Raises:
        ValueError: The file holds the weights of another network, or a weight is NaN
            or infinite, or a moving variance negative. The model is left as it was.
    """
    path = os.fspath(path)
    has_top = any(layer.name == HEAD for layer in model.layers)
    expected = len(model.weights)
    if not has_top and _stem_and_head_shapes(path)[1] is not None:
        expected += 2
    if count_arrays(path) != expected:
        raise ValueError(
            f"`weights` must be those of {model.name}, {expected} arrays. Received: "
            f"{path!r} with {count_arrays(path)}."
        )
    before = model.get_weights()
    try:
        _load_and_check(model, path)
    except ValueError:
        model.set_weights(before)
        raise


def _load_and_check(model: keras.Model, path: str) -> None:
    with unreadable(
        f"`weights` must be those of {model.name}. Received: {path!r}, which is "
        "damaged, or in which shapes differ"
    ):
        model.load_weights(path)
    check_model(repr(path), model)


def weights_classes(path: str | os.PathLike[str]) -> int | None:
    """Number of classes of a weights file; `None` where it has no top.

    Raises:
        ValueError: It is no weights file of this package.
    """
    head = _stem_and_head_shapes(os.fspath(path))[1]
    return None if head is None else head[1]


def count_arrays(path: str) -> int:
    """Number of arrays in a weights file of this package."""
    names: list[str] = []
    with _damaged(path), h5py.File(path) as file:
        file["layers"].visititems(
            lambda name, item: (
                names.append(name) if isinstance(item, h5py.Dataset) else None
            )
        )
    return len(names)


def _stem_and_head_shapes(path: str) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    with _damaged(path):
        check_arrays(path, os.path.getsize(path))
        with h5py.File(path) as file:
            stem = file["layers/conv2d/vars/0"].shape
            head = file.get("layers/dense/vars/0")
            if len(stem) != 4 or (head is not None and len(head.shape) != 2):
                raise ValueError(f"its kernels have the shapes {stem}, {head}")
            return stem, None if head is None else head.shape


def _damaged(path: str) -> contextlib.AbstractContextManager[None]:
    return unreadable(
        f"`weights` must hold the weights of a network of this package. {path!r} "
        "cannot be read as such"
    )
