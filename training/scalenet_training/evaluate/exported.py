"""Evaluation of an export, by the runtime it is for."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from scalenet_tf.export import (
    FORMATS,
    Exported,
    ExportError,
    ExportFormat,
    find_exported,
)
from scalenet_training.bars import Bar
from scalenet_training.data.batches import Batch, evaluation_batches
from scalenet_training.data.errors import data_errors
from scalenet_training.data.files.listing import Reading
from scalenet_training.data.source import Source, open_split
from scalenet_training.data.sources import (
    inherited_data_dir,
    open_source,
    same_dataset,
)
from scalenet_training.data.transform import Transform
from scalenet_training.errors import usage_errors
from scalenet_training.evaluate.config import EvaluateConfig
from scalenet_training.evaluate.subject import Observer, Subject
from scalenet_training.networks.class_names import (
    check_number,
    check_order,
    difference_note,
)
from scalenet_training.networks.exported_files import (
    ELSEWHERE,
    MODEL_CARD,
    open_intact,
    training_data,
)
from scalenet_training.networks.saved_network import (
    SavedNetwork,
    check_saved,
    find_network,
)
from scalenet_training.networks.saved_network_config import check_not_given
from scalenet_training.train.divergence import check_loss
from scalenet_training.train.evaluation import show
from scalenet_training.train.step import (
    SUMS,
    cross_entropy,
    logits_of,
    means,
    sums,
)

# What the file itself says, or what is for Keras models alone.
_NOT_FOR_FILES = (
    *("normalization", "image_size", "eval_resize"),
    *("strategy", "tpu", "virtual_devices", "jit"),
)


@dataclasses.dataclass(frozen=True)
class _Work:
    exported: Exported
    compared: keras.Model | None
    subject: Subject


def evaluate_exported(
    settings: EvaluateConfig,
    formats: Sequence[ExportFormat] = FORMATS,
    observer: Observer | None = None,
) -> dict[str, float]:
    """Evaluates an exported model on every example of a split once.

    Its logits are divided by its temperature, so that the loss is that of its
    probabilities.

    Args:
        settings: What to evaluate, on what.
        formats: The formats that are known.
        observer: Is shown the examples.

    Returns:
        As `evaluate_saved`; with `--compare` also `agreement`, the fraction of examples
        with the same likeliest class as the Keras model's, and the Keras model's
        `compared_top1_error` and `compared_top5_error`.

    Raises:
        UsageError: The file or the data cannot be had, or do not fit each other.
        RunError: An example cannot be read, or a network gives NaN or infinity.
    """
    with usage_errors():
        work = _prepare(settings, formats)
    split, classes = work.subject.split, len(work.subject.source.class_names)
    transform = Transform(work.subject.transform, classes)
    batches = evaluation_batches(split, transform, settings.batch_size)
    steps = -(-split.size // settings.batch_size)
    if observer is not None:
        observer.begin(work.subject)
    temperature = work.exported.temperature
    logits_model = None if work.compared is None else logits_of(work.compared)
    own, others, agreeing, seconds = np.zeros(SUMS), np.zeros(SUMS), 0.0, 0.0
    with (
        data_errors(split),
        Bar(total=steps, unit="step", desc="evaluating") as bar,
    ):
        for batch in batches(tf.distribute.InputContext()):
            began = time.perf_counter()
            with usage_errors(ExportError):
                logits = work.exported.logits(batch[0]) / temperature
            seconds += time.perf_counter() - began
            own += _sums(logits, batch)
            check_loss(means(own), repr(settings.run_or_model))
            if observer is not None:
                show(observer.see, batch, logits)
            if logits_model is not None:
                expected = logits_model(batch[0], training=False).numpy()
                others += _sums(expected, batch)
                check_loss(means(others), repr(settings.compare))
                same = logits.argmax(1) == expected.argmax(1)
                agreeing += float(np.sum(same * batch[2].numpy()))
            bar.update()
    result = {
        **means(own),
        "examples": split.size,
        "classes": classes,
        "images_per_second": steps * settings.batch_size / seconds,
    }
    if logits_model is not None:
        result["agreement"] = agreeing / split.size
        result |= {
            f"compared_{key}": value
            for key, value in means(others).items()
            if key != "loss"
        }
    return result


def _sums(logits: np.ndarray, batch: Batch) -> np.ndarray:
    _, labels, weights = batch
    values = tf.constant(logits.astype(keras.config.floatx()))
    return sums(cross_entropy(values, labels), values, labels, weights).numpy()


def _prepare(settings: EvaluateConfig, formats: Sequence[ExportFormat]) -> _Work:
    check_not_given(settings, _NOT_FOR_FILES, settings.run_or_model)
    if settings.compare is None:
        check_saved(settings.run_or_model, settings.saved, is_run=False)
    exported = open_intact(settings.run_or_model, formats)
    names = exported.class_names
    _, place = find_exported(settings.run_or_model, formats) or (None, "")
    network: SavedNetwork | None = None
    model: keras.Model | None = None
    defaults: Mapping[str, Any] = training_data(place)
    if settings.compare is not None:
        network = find_network(settings.compare, settings.saved)
        model = network.load()
        if network.record is not None:
            recorded = network.record.config.to_json()
            network.check_place(settings)
            defaults = {**recorded, "eval_split": network.record.eval_split}
            own = network.record.class_names
            check_order(names, own, settings.compare, "compare")
        compared = range(model.output_shape[-1])
        check_number(len(names), [*map(str, compared)], settings.compare, "compare")
    source, name = _data(settings, defaults, exported.transform.resize)
    split = open_split(source, name, "`eval_split`")
    check_number(len(names), source.class_names, source.name)
    check_order(names, source.class_names, source.name)
    for note in difference_note(names, source.class_names):
        print(f"note: {note}", file=sys.stderr)
    seen = None if network is None else network.trained_on(source, split, settings)
    subject = Subject(
        *(settings.run_or_model, source, name, split, exported.transform),
        temperature=exported.temperature,
        trained_on=seen,
    )
    return _Work(exported, model, subject)


def _data(
    settings: EvaluateConfig, defaults: Mapping[str, Any], resize: int
) -> tuple[Source, str]:
    """The dataset, and the name of the split to evaluate on."""
    recorded = defaults.get("dataset")
    dataset = settings.dataset or recorded
    if dataset is None:
        raise ValueError(
            f"`dataset` must be given: no model card beside {settings.run_or_model!r} "
            f"says what it was trained on (a {MODEL_CARD} that can be read)."
        )
    if dataset.startswith(ELSEWHERE):
        raise ValueError(
            f"`dataset` must be given: {settings.run_or_model!r} was trained on "
            f"{dataset!r}, whose place is not in its {MODEL_CARD}."
        )
    data_dir = settings.data_dir or _data_dir(dataset, defaults)
    damaged = settings.on_damaged or defaults.get("on_damaged", "stop")
    reading = Reading(damaged, resize=resize)
    source = open_source(dataset, data_dir, settings.download, reading)
    split = defaults.get("eval_split") if _is_own(dataset, defaults) else None
    return source, settings.eval_split or split or source.evaluation_split


def _is_own(dataset: str, defaults: Mapping[str, Any]) -> bool:
    """Whether a dataset is the one that the model was trained on, by its name."""
    own = defaults.get("dataset") or ""
    if own.startswith(ELSEWHERE):
        places = (os.path.realpath(dataset), os.path.normpath(dataset))
        return own[len(ELSEWHERE) :] in map(os.path.basename, places)
    return same_dataset(dataset, own, _data_dir(dataset, defaults))


def _data_dir(dataset: str, defaults: Mapping[str, Any]) -> str | None:
    own = defaults.get("dataset") or ""
    return inherited_data_dir(dataset, own, defaults.get("data_dir"))
