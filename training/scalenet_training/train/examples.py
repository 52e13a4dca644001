"""The examples of a run, checked against its network and its batch size."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

from scalenet_tf import Architecture
from scalenet_tf.preprocessing import EvaluationTransform
from scalenet_training.data.augmentation import (
    AUGMENTATIONS,
    Augmentation,
    find_augmentation,
)
from scalenet_training.data.files.index import INDEX_FILE
from scalenet_training.data.files.listing import Reading
from scalenet_training.data.pixels.changes import changes_of
from scalenet_training.data.source import Source, open_split
from scalenet_training.data.sources import open_source
from scalenet_training.data.splits import Split
from scalenet_training.data.transform import Transform, check_sizes
from scalenet_training.runs.run_data import RunData
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.variation import check_drawing


@dataclasses.dataclass(frozen=True)
class Examples:
    """What a run trains and evaluates on.

    Attributes:
        source: The dataset.
        train_split: Examples to train on, at least one batch.
        eval_split: Examples to evaluate on.
        transform: From stored images to the network's input.
    """

    source: Source
    train_split: Split
    eval_split: Split
    transform: Transform

    @property
    def data(self) -> RunData:
        """What the folder of a run keeps of the data."""
        return RunData(self.source, self.train_split, self.eval_split)


def open_examples(
    config: TrainConfig,
    architecture: Architecture,
    workdir: str | None = None,
    augmentations: Mapping[str, Augmentation] = AUGMENTATIONS,
) -> Examples:
    """Opens the dataset of the settings.

    Args:
        config: The settings.
        architecture: The network.
        workdir: Folder of a run; its index of the images is used if there is one.
        augmentations: The table that has the settings' augmentation.

    Raises:
        ValueError: A setting does not fit the data or the network; the message names
            it.
    """
    image_size = config.image_size or architecture.native_size
    eval_resize = config.eval_resize or image_size
    train_size, least = config.train_size, architecture.minimum_size
    check_sizes(image_size, eval_resize, least, train_size)
    evaluation = EvaluationTransform(image_size, eval_resize, config.normalization)
    augmentation = find_augmentation(config.augment, augmentations)
    index = os.path.join(workdir, INDEX_FILE) if workdir else None
    reading = Reading(config.on_damaged, index, eval_resize)
    source = open_source(config.dataset, config.data_dir, config.download, reading)
    train_split = open_split(source, config.train_split, "`train_split`")
    if train_split.size < config.batch_size:
        raise ValueError(
            f"`batch_size` must be at most the {train_split.size} examples of "
            f"`train_split` {config.train_split}. Received: {config.batch_size}."
        )
    eval_name = config.eval_split or source.evaluation_split
    check_drawing(config, train_split)
    classes = len(source.class_names)
    changes = changes_of(config)
    transform = Transform(evaluation, classes, augmentation, changes, train_size)
    eval_split = open_split(source, eval_name, "`eval_split`")
    return Examples(source, train_split, eval_split, transform)
