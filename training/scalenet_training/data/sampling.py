"""Which examples the steps of an epoch take: all, some several times, classes evenly.

Everything is a function of (seed, epoch), and of the step within a batch.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from scalenet_training.data.splits import IndexedSplit, Split, without_autograph

_COPIES = 1000  # folded into the seed of an example's copies from here on
_SHUFFLE = 1


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How examples are drawn.

    Attributes:
        repeats: Copies of each example, in one batch or in two that follow each other.
        balanced: Whether classes are equally frequent.
    """

    repeats: int = 1
    balanced: bool = False

    @property
    def copies(self) -> bool:
        """Whether an example may come several times in an epoch."""
        return self.repeats > 1 or self.balanced


EACH_ONCE = Sampling()


@dataclasses.dataclass(frozen=True)
class Epoch:
    """The part of an epoch that is drawn.

    Attributes:
        seed: (seed, epoch).
        steps: Steps of the whole epoch.
        start: Steps that are passed over.
        batch_size: Examples of a step.
    """

    seed: tuple[int, int]
    steps: int
    start: int
    batch_size: int


def draw(split: Split, sampling: Sampling, epoch: Epoch) -> tf.data.Dataset:
    """References and the numbers of their copies, from 0, for the steps of an epoch."""
    if sampling.balanced:
        numbered = _balanced(split, epoch.seed)
    else:
        references = split.references(epoch.seed)
        zero = tf.zeros((), tf.int64)
        numbered = references.map(
            without_autograph(lambda reference: (reference, zero))
        )
    total, passed = (n * epoch.batch_size for n in (epoch.steps, epoch.start))
    if sampling.repeats == 1:
        return numbered.take(total).skip(passed)
    distinct = -(-total // sampling.repeats)
    numbered = numbered.take(distinct).skip(passed // sampling.repeats)
    copies = numbered.map(
        without_autograph(partial(_repeated, repeats=sampling.repeats))
    ).unbatch()
    copies = copies.skip(passed % sampling.repeats).take(total - passed)
    return _shuffled_within_batches(copies, epoch)


def copy_seed(seed: tf.Tensor, copy: tf.Tensor) -> tf.Tensor:
    """The seed of a copy of an example; that of the first is the example's."""
    folded = tf.random.experimental.stateless_fold_in(seed, _COPIES + copy)
    return tf.where(copy == 0, seed, folded)


def balanced_order(
    labels: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """As many examples as there are, of each class equally many, but for one.

    All examples of a class come equally often, but for one time.

    Returns:
        Places in `labels`, and how often each came before, both `(examples,)`.
    """
    by_class = np.split(
        order := np.argsort(labels, kind="stable"),
        np.flatnonzero(np.diff(labels[order])) + 1,
    )
    quotas = np.full(len(by_class), len(labels) // len(by_class))
    more = len(labels) % len(by_class)
    quotas[random.permutation(len(by_class))[:more]] += 1
    places, times = [], []
    for own, quota in zip(by_class, quotas, strict=True):
        rounds = -(-quota // len(own))
        drawn = [random.permutation(own) for _ in range(rounds)]
        places.append(np.concatenate([*drawn, own[:0]])[:quota])
        times.append(np.arange(quota) // len(own))
    mixed = random.permutation(len(labels))
    return np.concatenate(places)[mixed], np.concatenate(times)[mixed]


def _balanced(split: Split, seed: tuple[int, int]) -> tf.data.Dataset:
    assert isinstance(split, IndexedSplit)
    assert split.labels is not None
    places, times = balanced_order(split.labels, np.random.default_rng(seed))
    return tf.data.Dataset.from_tensor_slices((split.indices[places], times))


def _repeated(reference: Any, copy: tf.Tensor, repeats: int) -> tuple:
    alike = tf.nest.map_structure(
        lambda value: tf.repeat(value[None], repeats, axis=0), reference
    )
    return alike, copy * repeats + tf.range(repeats, dtype=copy.dtype)


def _shuffled_within_batches(examples: tf.data.Dataset, epoch: Epoch) -> Any:
    """Copies that follow each other would be mixed with each other."""
    run_seed, number = epoch.seed
    drawn = np.random.default_rng((run_seed, number, _SHUFFLE)).integers(2**31)

    @without_autograph
    def shuffled(step: tf.Tensor, batch: tuple) -> tuple:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(epoch.batch_size), tf.stack([tf.constant(drawn), step])
        )
        return tf.nest.map_structure(lambda value: tf.gather(value, order), batch)

    batches = examples.batch(epoch.batch_size, drop_remainder=True)
    numbered = batches.enumerate(epoch.start)
    return numbered.map(shuffled).unbatch()
