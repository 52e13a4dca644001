"""Stochastic depth: a network in training, some of its residual branches left out."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from scalenet_tf.models import HEAD
from scalenet_tf.names import bottlenecks

_STREAM = 0xDE97  # another one than that of the order of examples


class _Part(NamedTuple):
    """Up to the sum of a bottleneck, the sum, and what follows it.

    Attributes:
        ends: Gives the branch, and the shortcut where it is not the input itself.
    """

    ends: keras.Model
    add: keras.layers.Layer
    out: keras.layers.Layer


class StochasticDepth:
    """Leaves out the residual branch of an example with a chance that grows with depth.

    Branch l of L is left out with the chance rate x l / L, each example by itself; what
    stays is divided by the chance to stay, so that the expected branch is the whole
    one. It is the training that does it: the network itself, and what is saved of it,
    has the same layers with and without. Who stays is a function of (seed, step, place
    in the global batch, block), however the batch is split.

    Args:
        model: The network; its weights are shared.
        rate: The chance of the last branch, from 0 to below 1.
        seed: Of the run.

    Source: Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, section 3,
    where whole mini-batches lose a branch and inference is scaled instead.
    """

    def __init__(self, model: keras.Model, rate: float, seed: int):
        blocks = bottlenecks(layer.name for layer in model.layers)
        depths = np.arange(1, len(blocks) + 1) / len(blocks)
        self.chances = (1.0 - rate * depths).astype(np.float32)
        self._key = int(np.random.default_rng((seed, _STREAM)).integers(2**62))
        self._parts: list[_Part] = []
        start = model.inputs
        for block in blocks:
            add, out = (model.get_layer(block.layer(role)) for role in ("add", "out"))
            branch, shortcut = add.input
            ends = [branch] if shortcut is start[0] else [branch, shortcut]
            self._parts.append(_Part(keras.Model(start, ends), add, out))
            start = [out.output]
        self._rest = keras.Model(start, model.get_layer(HEAD).output)

    def draw(self, step: tf.Tensor, global_batch: int) -> tf.Tensor:
        """What scales the branches: 0 or 1/chance, `(global_batch, blocks)`."""
        drawn = tf.random.stateless_uniform(
            (global_batch, len(self.chances)),
            tf.stack([tf.constant(self._key, tf.int64), tf.cast(step, tf.int64)]),
            alg="philox",  # the same on every device
        )
        return tf.where(drawn < self.chances, 1.0 / self.chances, 0.0)

    def __call__(
        self, images: tf.Tensor, factors: tf.Tensor, training: bool = True
    ) -> tf.Tensor:
        """The logits of images `(batch, h, w, c)` with `(batch, blocks)` factors."""
        x = images
        for index, (part, add, out) in enumerate(self._parts):
            # One tensor alone comes without a list.
            branch, shortcut = [*tf.nest.flatten(part(x, training=training)), x][:2]
            factor = tf.cast(factors[:, index, None, None, None], branch.dtype)
            x = out(add([branch * factor, shortcut]))
        return self._rest(x, training=training)


def part_of_replica(values: tf.Tensor, replicas: int) -> tf.Tensor:
    """The replica's rows of values of the global batch; called in its context."""
    if replicas == 1:
        return values
    count = values.shape[0] // replicas
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    return tf.slice(values, [replica * count, 0], [count, values.shape[1]])
