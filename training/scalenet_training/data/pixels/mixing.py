"""Mixup and cutmix: each image of a batch mixed with its neighbour.

The images 2j and 2j + 1 of a global batch are partners; examples are shuffled, so that
partners are drawn at random. What a batch is mixed by is a function of (seed, epoch,
step). So a replica needs only its own part of the batch, of an even number of images,
and the result does not depend on how many share it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import tensorflow as tf

from scalenet_training.data.splits import without_autograph

_STREAM = 1  # of random numbers, beside that of the order of examples


@dataclasses.dataclass(frozen=True)
class Areas:
    """What each step of an epoch mixes by.

    Attributes:
        inside: The part of an image in its mixture, inside the box; outside it is 1.
            Float64 `(steps,)`.
        boxes: Top, bottom, left and right in pixels, `(steps, 4)`.
    """

    inside: np.ndarray
    boxes: np.ndarray

    def shares(self, size: int) -> np.ndarray:
        """The part of an image in its mixture, over all pixels, `(steps,)`."""
        top, bottom, left, right = self.boxes.T
        area = (bottom - top) * (right - left) / size**2
        return 1.0 - (1.0 - self.inside) * area


def mixup_areas(
    random: np.random.Generator, steps: int, alpha: float, size: int
) -> Areas:
    """All pixels by a share from Beta(alpha, alpha) (Zhang et al., 2018)."""
    boxes = np.tile([0, size, 0, size], (steps, 1))
    return Areas(random.beta(alpha, alpha, steps), boxes)


def cutmix_areas(
    random: np.random.Generator, steps: int, alpha: float, size: int
) -> Areas:
    """A box of the partner, cut at the border (Yun et al., 2019).

    Its area, before it is cut, is 1 less a share from Beta(alpha, alpha).
    """
    shares = random.beta(alpha, alpha, steps)
    half = (size * np.sqrt(1.0 - shares)).astype(int)[:, None] // 2
    centres = random.integers(0, size, (steps, 2))
    starts, ends = (np.clip(centres + side, 0, size) for side in (-half, half))
    return Areas(np.zeros(steps), np.stack([starts, ends], 2).reshape(steps, 4))


# By the name of the setting that has the alpha.
MIXES: Mapping[str, Callable[[np.random.Generator, int, float, int], Areas]] = (
    MappingProxyType({"mixup": mixup_areas, "cutmix": cutmix_areas})
)


@dataclasses.dataclass(frozen=True)
class Mixing:
    """How images are mixed.

    Attributes:
        alphas: By the name of a mix, its alpha; 0 for none.
        switch_probability: Of the last mix, where there are two.
    """

    alphas: Mapping[str, float] = dataclasses.field(default_factory=dict)
    switch_probability: float = 0.5

    @property
    def active(self) -> bool:
        """Whether anything is mixed."""
        return any(self.alphas.values())

    def areas(self, seed: tuple[int, int], steps: int, size: int) -> Areas:
        """What the steps of an epoch mix by; the seed is (seed, epoch)."""
        random = np.random.default_rng((*seed, _STREAM))
        drawn = [
            MIXES[name](random, steps, alpha, size)
            for name, alpha in self.alphas.items()
            if alpha
        ]
        switch = random.random(steps) < self.switch_probability
        first, last = drawn[0], drawn[-1]
        return Areas(
            np.where(switch, last.inside, first.inside),
            np.where(switch[:, None], last.boxes, first.boxes),
        )


NO_MIXING = Mixing()


def mixed(
    batches: tf.data.Dataset,
    areas: Areas,
    size: int,
    classes: int,
    first_step: int,
    parts: int,
) -> tf.data.Dataset:
    """Batches of replicas, mixed.

    Args:
        batches: Images, labels and weights, in the order of the steps.
        areas: What the steps of the epoch mix by.
        size: Side of the images.
        classes: Number of classes.
        first_step: Step of the first batch.
        parts: Batches of a step.

    Returns:
        The same with soft labels, `(batch, classes)`, which sum to 1.
    """
    inside, boxes, shares = map(
        tf.constant, (areas.inside, areas.boxes, areas.shares(size))
    )

    @without_autograph
    def mix(number: tf.Tensor, batch: tuple) -> tuple:
        step = first_step + number // parts
        images, labels, weights = batch
        share = tf.cast(shares[step], images.dtype)
        mask = _mask(tf.cast(inside[step], images.dtype), boxes[step], size)
        targets = tf.one_hot(labels, classes, dtype=images.dtype)
        return _blended(images, mask), _blended(targets, share), weights

    return batches.enumerate().map(
        mix, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )


def _mask(inside: tf.Tensor, box: tf.Tensor, size: int) -> tf.Tensor:
    """The part of an image at each of its pixels, `(size, size, 1)`."""
    top, bottom, left, right = tf.unstack(box)
    places = tf.range(size, dtype=box.dtype)
    rows = (places >= top) & (places < bottom)
    columns = (places >= left) & (places < right)
    within = rows[:, None, None] & columns[None, :, None]
    return tf.where(within, inside, tf.ones_like(inside))


def _blended(values: tf.Tensor, part: tf.Tensor) -> tf.Tensor:
    """Each value mixed with its partner's, of which it takes the rest."""
    partners = np.arange(values.shape[0]) ^ 1
    return part * values + (1.0 - part) * tf.gather(values, partners)
