"""What is done to an image after `--augment` has cropped it: a table, in its order."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

import tensorflow as tf

from scalenet_training.data.pixels.erasing import erase
from scalenet_training.data.pixels.operations import apply_operations
from scalenet_training.data.pixels.policies import PolicyOptions, apply_policy

# (pixels from 0 to 255 (size, size, 3), seed (2,)) -> pixels
Change = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

_JITTERED = ("brightness", "contrast", "color")


class PixelOptions(PolicyOptions, Protocol):
    """The settings of the changes."""

    @property
    def color_jitter(self) -> float: ...  # noqa: D102

    @property
    def random_erasing(self) -> float: ...  # noqa: D102


def changes_of(options: PixelOptions) -> tuple[Change, ...]:
    """The changes that the options ask for, each with a seed of its own."""
    return tuple(
        functools.partial(_salted, change, salt)
        for salt, make in _CHANGES.items()
        if (change := make(options)) is not None
    )


def jitter(pixels: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    """Brightness, contrast and colour, in random order, by up to 1 +- strength.

    Source: the jitter of Krizhevsky et al., 2012, as torchvision and timm compute it,
    without hue.
    """
    fold = tf.random.experimental.stateless_fold_in
    factors = tf.random.stateless_uniform(
        (len(_JITTERED),), fold(seed, 0), 1.0 - strength, 1.0 + strength
    )
    order = tf.random.experimental.stateless_shuffle(
        tf.range(len(_JITTERED)), fold(seed, 1)
    )
    return apply_operations(_JITTERED, order, pixels, factors)


def _policy(options: PixelOptions) -> Change | None:
    if options.policy == "none":
        return None
    return lambda pixels, seed: apply_policy(options, _whole(pixels), seed)


def _jitter(options: PixelOptions) -> Change | None:
    strength = options.color_jitter
    if not strength:
        return None
    return lambda pixels, seed: jitter(_whole(pixels), seed, strength)


def _erasing(options: PixelOptions) -> Change | None:
    probability = options.random_erasing
    if not probability:
        return None
    return lambda pixels, seed: erase(pixels, seed, probability)


# By what is folded into the seed; `--augment` has 0 and 1.
_CHANGES: dict[int, Callable[[PixelOptions], Change | None]] = {
    2: _policy,
    3: _jitter,
    4: _erasing,
}


def _salted(change: Change, salt: int, pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return change(pixels, tf.random.experimental.stateless_fold_in(seed, salt))


def _whole(pixels: tf.Tensor) -> tf.Tensor:
    """Values of 8 bits, which the operations are defined for."""
    if pixels.dtype == tf.uint8:
        return pixels
    return tf.cast(tf.round(tf.clip_by_value(pixels, 0.0, 255.0)), tf.uint8)
