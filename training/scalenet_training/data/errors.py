"""Errors of single examples: found in the input pipeline, told in a line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

from scalenet_tf.decoding import decode_image, why_undecodable
from scalenet_training.data.splits import Split
from scalenet_training.errors import RunError

_LABELS = "labels must be from 0 to {highest}"
_LABELS_PATTERN = re.compile(_LABELS.format(highest=r"\d+"))


def checked_label(label: tf.Tensor, classes: int) -> tf.Tensor:
    """The label; running it fails where it is not one of the classes."""
    message = _LABELS.format(highest=classes - 1)
    with tf.control_dependencies(
        [
            tf.debugging.assert_non_negative(label, message),
            tf.debugging.assert_less(label, tf.cast(classes, label.dtype), message),
        ]
    ):
        return tf.identity(label)


@contextlib.contextmanager
def data_errors(split: Split) -> Iterator[None]:
    """Turns errors of the input pipeline into a RunError that names the example."""
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
        allowed = _LABELS_PATTERN.search(error.message)
        if allowed is not None:
            label = _label_error(allowed[0], error.message)
            raise RunError(f"`dataset`: {label}") from error
        damaged = find_damaged_image(split)
        if damaged is None:
            raise
        raise RunError(
            f"`dataset`: an image cannot be decoded: {damaged}. A run "
            "goes on with the data that it began with alone: replace or remove it and "
            "train in another `workdir`, there also with `on_damaged` skip."
        ) from error


def find_damaged_image(split: Split) -> str | None:
    """Decodes the images of a split one by one.

    Returns:
        The name of the first that cannot be decoded, and why; None where all can be.
    """
    files = getattr(split, "files", None)
    for reference in split.references(None):
        why = "it cannot be read"
        try:
            example = split.fetch(reference)
            if example["image"].dtype != tf.string:
                return None
            why = why_undecodable(example["image"].numpy())
            decode_image(example["image"])
        except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError):
            number = int(reference) if files else int(example["id"])
            name = repr(files[number]) if files else f"example {number}"
            return f"{name} ({why})"
    return None


def _label_error(allowed: str, message: str) -> str:
    """What TensorFlow says of a label, in a line."""
    received = re.findall(r"\[(-?\d+)\]", message)[0]
    unlabelled = ", which marks an example without label" if received == "-1" else ""
    return f"{allowed}. Received: {received}{unlabelled}."
