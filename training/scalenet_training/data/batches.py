"""Batches of a replica: which examples, and in which order.

The order of examples is a function of (seed, epoch), their augmentation of (seed,
epoch, example and its copy), what images are mixed by of (seed, epoch, step): none
depends on how many replicas or workers share a global batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from scalenet_training.data.errors import checked_label
from scalenet_training.data.pixels.mixing import NO_MIXING, Mixing, mixed
from scalenet_training.data.sampling import (
    EACH_ONCE,
    Epoch,
    Sampling,
    copy_seed,
    draw,
)
from scalenet_training.data.splits import Split, without_autograph
from scalenet_training.data.transform import Transform

# images (batch, size, size, 3), labels (batch,) or, mixed, (batch, classes), weights
# (batch,): 0 marks padding
Batch = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def training_batches(
    split: Split,
    transform: Transform,
    batch_size: int,
    seed: int,
    epoch: int,
    start_step: int,
    sharding: str = "data",
    sampling: Sampling = EACH_ONCE,
    mixing: Mixing = NO_MIXING,
) -> Callable[[tf.distribute.InputContext], tf.data.Dataset]:
    """The full global batches of an epoch, from `start_step` on.

    Args:
        split: Examples.
        transform: From stored images to the network's input.
        batch_size: Global batch.
        seed: Decides, with the epoch, the order and the augmentation.
        epoch: Counted from 0.
        start_step: Number of global batches to skip.
        sharding: `"data"`: every worker goes through all references and keeps its
            part of each global batch; `"file"`: every worker goes through its own
            contiguous part of the split.
        sampling: How examples are drawn.
        mixing: How images are mixed; replicas need an even number of them.

    Returns:
        A function for `distribute_datasets_from_function`.
    """
    epoch_seed = np.random.default_rng((seed, epoch)).integers(2**31)
    steps = split.size // batch_size

    @without_autograph
    def load(reference: Any, copy: tf.Tensor) -> Batch:
        example = split.fetch(reference)
        pair = tf.stack([tf.constant(epoch_seed), tf.cast(example["id"], tf.int64)])
        if sampling.copies:
            pair = copy_seed(pair, copy)
        image = transform.for_training(example["image"], pair)
        label = checked_label(example["label"], transform.classes)
        return image, label, tf.ones((), image.dtype)

    def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
        own, taken = split, batch_size
        workers = context.num_input_pipelines
        if sharding == "file":
            own = split.part(context.input_pipeline_id, workers)
            taken, workers = batch_size // workers, 1
        drawn = draw(own, sampling, Epoch((seed, epoch), steps, start_step, taken))
        if workers > 1:
            drawn = _own_references(drawn, batch_size, context)
        loaded = _loaded(drawn, load, batch_size, context)
        if mixing.active:
            size, classes = transform.training.image_size, transform.classes
            areas = mixing.areas((seed, epoch), steps, size)
            parts = context.num_replicas_in_sync // context.num_input_pipelines
            loaded = mixed(loaded, areas, size, classes, start_step, parts)
        return loaded.prefetch(tf.data.AUTOTUNE)

    return batches


def evaluation_batches(
    split: Split, transform: Transform, batch_size: int
) -> Callable[[tf.distribute.InputContext], tf.data.Dataset]:
    """Every example once, in order; padding of weight 0 fills the last global batch.

    Returns:
        A function for `distribute_datasets_from_function`.
    """
    padding = -split.size % batch_size

    @without_autograph
    def load(reference: Any, weight: tf.Tensor) -> Batch:
        example = split.fetch(reference)
        image = transform.for_evaluation(example["image"])
        label = checked_label(example["label"], transform.classes)
        return image, label, tf.cast(weight, image.dtype)

    def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
        references = split.references(None)
        filler = references.take(1).repeat().take(padding)
        weighted = references.map(
            without_autograph(lambda one: (one, 1.0))
        ).concatenate(filler.map(without_autograph(lambda one: (one, 0.0))))
        if context.num_input_pipelines > 1:
            weighted = _own_references(weighted, batch_size, context)
        loaded = _loaded(weighted, load, batch_size, context)
        return loaded.prefetch(tf.data.AUTOTUNE)

    return batches


def _own_references(
    references: tf.data.Dataset, batch_size: int, context: tf.distribute.InputContext
) -> tf.data.Dataset:
    """This worker's part of every global batch; all batches are full."""
    part = batch_size // context.num_input_pipelines
    start = part * context.input_pipeline_id

    @without_autograph
    def own_part(*batch: Any) -> Any:
        return tf.nest.map_structure(lambda x: x[start : start + part], batch)

    return references.batch(batch_size).map(own_part).unbatch()


def _loaded(
    references: tf.data.Dataset,
    load: Callable[..., Batch],
    batch_size: int,
    context: tf.distribute.InputContext,
) -> tf.data.Dataset:
    """The examples that the references stand for, in batches of a replica."""
    examples = references.map(
        load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    replica_batch = context.get_per_replica_batch_size(batch_size)
    return examples.batch(replica_batch, drop_remainder=True)
