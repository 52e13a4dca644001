"""Images a second of the input pipeline, by what is done to the images."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf

from scalenet_tf.preprocessing import EvaluationTransform
from scalenet_training.bars import Bar
from scalenet_training.benchmark.config import PipelineConfig
from scalenet_training.benchmark.tables import print_rows
from scalenet_training.data.augmentation import find_augmentation
from scalenet_training.data.batches import training_batches
from scalenet_training.data.pixels.changes import changes_of
from scalenet_training.data.splits import IndexedSplit
from scalenet_training.data.transform import Transform
from scalenet_training.errors import usage_errors
from scalenet_training.runs.files import write_rows
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.variation import mixing_of, sampling_of

_CLASSES = 1000
_WARM_UP = 2  # batches that are not timed
_COLUMNS = {
    "name": ("what is done", "<40"),
    "images_per_second": ("images/s", ">10.0f"),
    "lowest": ("lowest", ">10.0f"),
    "highest": ("highest", ">10.0f"),
    "processor_ms": ("ms of a core", ">14.3f"),
    "ratio": ("ratio", ">8.2f"),
}

# Changed settings, beside `augment`; ratios are to the first.
PIPELINES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "nothing else": {},
        "color jitter 0.4": {"color_jitter": 0.4},
        "randaugment, 2 operations": {"policy": "randaugment"},
        "trivialaugment": {"policy": "trivialaugment"},
        "random erasing 0.25": {"random_erasing": 0.25},
        "mixup 0.2": {"mixup": 0.2},
        "cutmix 1.0": {"cutmix": 1.0},
        "3 repeats": {"repeats": 3},
        "randaugment, mixup, cutmix, 3 repeats": {
            "policy": "randaugment",
            "mixup": 0.1,
            "cutmix": 1.0,
            "repeats": 3,
        },
    }
)


@dataclasses.dataclass(frozen=True)
class PipelineSpeed:
    """The speed of one pipeline.

    Attributes:
        name: What is done, beside `augment`.
        images_per_second: Median of the rounds.
        lowest: Of the rounds.
        highest: Of the rounds.
        processor_ms: Processor time of an image, in milliseconds; median.
        ratio: Of processor time, to the first pipeline: median of those of the rounds.
    """

    name: str
    images_per_second: float
    lowest: float
    highest: float
    processor_ms: float
    ratio: float


def measure_pipelines(config: PipelineConfig) -> list[PipelineSpeed]:
    """Measures, prints a table, and writes it where that was asked for.

    Raises:
        UsageError: There is no such augmentation.
        RunError: The table cannot be written.
    """
    split = _noise(config)
    with usage_errors():
        datasets = {
            name: _dataset(config, split, TrainConfig(**changes))
            for name, changes in PIPELINES.items()
        }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in datasets}
    names = list(datasets)
    for number in Bar(range(config.rounds), unit="round"):
        start = number % len(names)  # so that nobody always comes after the same one
        for name in names[start:] + names[:start]:
            times[name].append(_seconds(datasets[name], config.steps))
    images = config.steps * config.batch_size
    rows = [_speed(name, own, times[names[0]], images) for name, own in times.items()]
    print_rows(rows, _COLUMNS)
    if config.output is not None:
        write_rows(config.output, [dataclasses.asdict(row) for row in rows])
        print(f"written: {config.output}")
    return rows


def _speed(
    name: str,
    own: Sequence[tuple[float, float]],
    first: Sequence[tuple[float, float]],
    images: int,
) -> PipelineSpeed:
    speeds = [images / seconds for seconds, _ in own]
    processor = [seconds for _, seconds in own]
    ratios = [a / b for a, (_, b) in zip(processor, first, strict=True)]
    return PipelineSpeed(
        name,
        statistics.median(speeds),
        min(speeds),
        max(speeds),
        1e3 * statistics.median(processor) / images,
        statistics.median(ratios),
    )


def _noise(config: PipelineConfig) -> IndexedSplit:
    """Decoded images in memory: an epoch of as many steps as are taken."""
    count = config.batch_size * (config.steps + _WARM_UP)
    shape = (count, config.image_size, config.image_size, 3)
    random = np.random.default_rng(0)
    images = tf.constant(random.integers(0, 256, shape, np.uint8))
    labels = tf.constant(random.integers(0, _CLASSES, count))
    return IndexedSplit(
        np.arange(count),
        lambda number: (tf.gather(images, number), tf.gather(labels, number)),
    )


def _dataset(
    config: PipelineConfig, split: IndexedSplit, settings: TrainConfig
) -> tf.data.Dataset:
    size = config.image_size
    transform = Transform(
        EvaluationTransform(size, size),
        _CLASSES,
        find_augmentation(config.augment),
        changes_of(settings),
    )
    batches = training_batches(
        split,
        transform,
        config.batch_size,
        seed=0,
        epoch=0,
        start_step=0,
        sampling=sampling_of(settings),
        mixing=mixing_of(settings),
    )
    return batches(tf.distribute.InputContext())


def _seconds(dataset: tf.data.Dataset, steps: int) -> tuple[float, float]:
    """Seconds of the clock, and of the processor in all threads."""
    iterator = iter(dataset)
    for _ in range(_WARM_UP):
        next(iterator)
    began, began_processor = time.perf_counter(), time.process_time()
    for _ in range(steps):
        next(iterator)
    return time.perf_counter() - began, time.process_time() - began_processor
