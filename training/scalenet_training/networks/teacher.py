"""Trained networks that another one learns from: of runs, files, SavedModels."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from scalenet_tf.export.formats import find_exported
from scalenet_tf.preprocessing import STATISTICS, EvaluationTransform
from scalenet_training.errors import SettingError
from scalenet_training.networks.class_names import first_difference
from scalenet_training.networks.exported_files import open_intact
from scalenet_training.networks.logits import logits_of
from scalenet_training.networks.saved_network import SavedNetwork, find_network

_NAME = "`teacher`"
_FORMAT = "savedmodel"

# Images as the network takes them -> logits, as part of a graph
Logits = Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A trained network whose predictions another one learns.

    Attributes:
        logits: Of images as the student takes them, `(batch, side, side, 3)`;
            `(batch, classes)`. Part of any graph; it is not trained.
        digest: SHA-256 of its files, one after the other.
    """

    logits: Logits
    digest: str


@dataclasses.dataclass(frozen=True)
class _Opened:
    """A network, and what it takes and tells.

    Attributes:
        side: Of its images; `None` where it takes any.
        normalization: Whose statistics; `None` where that is not known.
        class_names: `None` where they are not known.
    """

    logits: Logits
    classes: int
    side: int | None
    normalization: str | None
    class_names: Sequence[str] | None


def open_teacher(
    path: str, student: EvaluationTransform, class_names: Sequence[str]
) -> Teacher:
    """Opens a teacher, in the scope of the strategy that uses it.

    Args:
        path: A run's folder (its best model), a .keras file, or a SavedModel that was
            exported. A file without a run is taken to have the student's normalisation.
        student: What the images have been through that the teacher is shown.
        class_names: The student's classes.

    Raises:
        SettingError: There is no such network, or it has other classes or too small an
            image.
        UsageError: A file is damaged.
    """
    exported = find_exported(path)
    if exported is None:
        network = find_network(path, "best", _NAME)
        files, opened = [network.path], _of_keras(network)
    elif exported[0].name == _FORMAT:
        files, opened = _files_of(exported[1]), _of_savedmodel(path, exported[1])
    else:
        raise SettingError(
            f"{_NAME} must be the folder of a run, a .keras file, weights that come "
            f"with the package, or an export of the format {_FORMAT}. Received: "
            f"{path!r}, {exported[0].name}."
        )
    _check(opened, path, student.image_size, class_names)
    return Teacher(_for_images_of(student, opened), _digest(files))


def _of_keras(network: SavedNetwork) -> _Opened:
    model = network.load()
    model.trainable = False
    logits = logits_of(model)
    record = network.record
    return _Opened(
        lambda images: logits(images, training=False),
        model.output_shape[-1],
        model.input_shape[1],
        None if record is None else record.config.normalization,
        None if record is None else record.class_names,
    )


def _of_savedmodel(path: str, place: str) -> _Opened:
    exported = open_intact(path)  # its files are whole, and it runs
    loaded = tf.saved_model.load(place)
    (name,) = loaded.signatures["serving_default"].structured_input_signature[1]

    def logits(images: tf.Tensor) -> tf.Tensor:
        # By way of what was loaded, which must live as long as its functions.
        images = tf.cast(images, tf.float32)
        return loaded.signatures["serving_default"](**{name: images})["logits"]

    return _Opened(
        logits,
        len(exported.class_names),
        exported.transform.image_size,
        exported.transform.normalization,
        exported.class_names,
    )


def _check(opened: _Opened, path: str, side: int, class_names: Sequence[str]) -> None:
    if opened.classes != len(class_names):
        raise SettingError(
            f"{_NAME} must have the {len(class_names)} classes of `dataset`. Received: "
            f"{path!r} with {opened.classes}."
        )
    pair = first_difference(opened.class_names or class_names, class_names)
    if pair is not None:
        raise SettingError(
            f"{_NAME} must have the classes of `dataset` in the same order. Received: "
            f"{path!r} with {pair[0]!r} in the place of {pair[1]!r}."
        )
    if opened.side is not None and opened.side < side:
        raise SettingError(
            f"{_NAME} must take images of {side} pixels a side, or larger ones, to "
            f"which they are enlarged. Received: {path!r} for {opened.side}."
        )


def _for_images_of(student: EvaluationTransform, opened: _Opened) -> Logits:
    """The logits of images that are normalised and sized as the student's."""
    own = opened.normalization or student.normalization
    (mean, deviation), (own_mean, own_deviation) = (
        np.array(STATISTICS[name]) for name in (student.normalization, own)
    )
    scale, offset = deviation / own_deviation, (mean - own_mean) / own_deviation

    def logits(images: tf.Tensor) -> tf.Tensor:
        if own != student.normalization:
            images = images * tf.cast(scale, images.dtype)
            images += tf.cast(offset, images.dtype)
        if opened.side not in (None, images.shape[1]):
            sides = (opened.side, opened.side)
            images = tf.cast(tf.image.resize(images, sides), images.dtype)
        return opened.logits(images)

    return logits


def _files_of(folder: str) -> list[str]:
    """What decides the predictions of a SavedModel."""
    names = ["saved_model.pb"]
    inside = os.path.join(folder, "variables")
    if os.path.isdir(inside):
        names += [
            os.path.join("variables", name) for name in sorted(os.listdir(inside))
        ]
    return [os.path.join(folder, name) for name in names]


def _digest(files: Sequence[str]) -> str:
    """SHA-256 of the bytes of all files, one after the other."""
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            while part := file.read(2**20):
                digest.update(part)
    return digest.hexdigest()
