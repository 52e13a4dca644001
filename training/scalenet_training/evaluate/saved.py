"""Evaluation of what a run saved, or of any saved model of this package."""

from __future__ import annotations

import os
import sys
import time

import keras
import numpy as np

from scalenet_tf.finite import first_not_finite
from scalenet_training.bars import Bar
from scalenet_training.data.source import Source
from scalenet_training.data.splits import Split
from scalenet_training.data.transform import Transform
from scalenet_training.devices import placement as distribution
from scalenet_training.errors import SettingError
from scalenet_training.evaluate.config import EvaluateConfig
from scalenet_training.evaluate.subject import Observer, Subject
from scalenet_training.networks.class_names import check_number
from scalenet_training.networks.saved_network import SavedNetwork, find_network
from scalenet_training.train.divergence import NotFiniteError
from scalenet_training.train.evaluation import Evaluator


def evaluate_saved(
    settings: EvaluateConfig, observer: Observer | None = None
) -> dict[str, float]:
    """Evaluates a saved model on every example of a split once.

    Args:
        settings: What to evaluate, on what.
        observer: Is shown the examples.

    Returns:
        `loss`, `top1_error`, `top5_error` (fractions), `examples`, `classes`,
        `images_per_second`.

    Raises:
        UsageError: The model or the data cannot be had, or do not fit each other.
        RunError: An example cannot be read, or the network holds or gives NaN or
            infinity.
    """
    evaluator = _evaluator(settings, observer)
    watch = _Watch(observer)
    times = []
    began = watch.now()
    with Bar(total=evaluator.steps, unit="step", desc="evaluating") as bar:

        def progress(_: int) -> None:
            times.append(watch.now())
            bar.update()

        result = evaluator.run(progress, see=watch.see if observer else None)
    # The first step traces and compiles: it counts only where there is no other.
    times = times if len(times) > 1 else [began, *times]
    images = (len(times) - 1) * settings.batch_size
    return {
        **result,
        "examples": evaluator.split.size,
        "classes": evaluator.classes,
        "images_per_second": images / (times[-1] - times[0]),
    }


class _Watch:
    """A clock that stands still while an observer looks at examples."""

    def __init__(self, observer: Observer | None):
        self._observer = observer
        self._looked = 0.0

    def now(self) -> float:
        """Seconds."""
        return time.perf_counter() - self._looked

    def see(self, images: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> None:
        """As the observer's."""
        assert self._observer is not None
        began = time.perf_counter()
        self._observer.see(images, labels, logits)
        self._looked += time.perf_counter() - began


def _evaluator(settings: EvaluateConfig, observer: Observer | None) -> Evaluator:
    if settings.compare is not None:
        raise SettingError(
            "`compare` is for what export.py wrote. "
            f"Received: {settings.run_or_model!r}."
        )
    network = find_network(settings.run_or_model, settings.saved)
    dataset = network.required("dataset", settings.dataset)
    network.required("normalization", settings.normalization)
    placement = distribution.open_placement(
        settings.strategy, settings.virtual_devices, settings.tpu
    )
    if observer is not None and placement.workers > 1:
        raise SettingError(
            "`report` must be left out where several workers evaluate: each of them "
            f"sees a part of the examples. Received: {settings.report!r}."
        )
    distribution.check_global_batch(settings.batch_size, placement.strategy)
    source, split = _open_data(network, settings)
    with distribution.lost_workers(placement), placement.strategy.scope():
        model = network.load()
    check_number(model.output_shape[-1], source.class_names, dataset)
    transform = network.transform(model, settings)
    xla = distribution.uses_xla(settings.jit, placement, sync_batch_norm=False)
    _check_finite(network, model)
    if observer is not None:
        name = network.split_name(source, settings)
        run = None if network.record is None else os.path.dirname(network.path)
        about = (settings.run_or_model, source, name, split, transform, model, run)
        seen = network.trained_on(source, split, settings)
        observer.begin(Subject(*about, trained_on=seen, digest=network.digest))
    whole = Transform(transform, len(source.class_names))
    return Evaluator(
        *(model, split, whole, settings.batch_size, placement, xla),
        network=repr(network.path),
    )


def _open_data(network: SavedNetwork, settings: EvaluateConfig) -> tuple[Source, Split]:
    """The dataset and what of it is evaluated on; says what is to know of it."""
    source = network.source(settings)
    network.check_division(source, settings)
    split = network.evaluation_split(source, settings)
    for note in network.notes(source, split, settings):
        print(f"note: {note}", file=sys.stderr)
    return source, split


def _check_finite(network: SavedNetwork, model: keras.Model) -> None:
    problem = first_not_finite(model.weights)
    if problem is not None:
        raise NotFiniteError(
            f"{network.path!r} has no error rate: {problem}. Its training has diverged."
        )
