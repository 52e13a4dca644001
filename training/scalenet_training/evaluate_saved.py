"""Evaluation of what a run saved, or of any saved model of this package."""

from __future__ import annotations

import os
import time
from typing import Any

import keras

from scalenet_tf.models import HEAD
from scalenet_training import distribution
from scalenet_training.errors import usage_errors
from scalenet_training.evaluate_config import EvaluateConfig
from scalenet_training.evaluation import Evaluator
from scalenet_training.pipeline import Transform, check_sizes
from scalenet_training.run_folder import CONFIG_FILE, RunFolder
from scalenet_training.sources import open_source, open_split


def evaluate_saved(settings: EvaluateConfig) -> dict[str, float]:
    """Evaluates a saved model on every example of a split once.

    Returns:
        `loss`, `top1_error`, `top5_error` (fractions), `examples`,
        `images_per_second`.

    Raises:
        UsageError: The model or the data cannot be had, or do not fit each other.
        RunError: An example cannot be read.
    """
    with usage_errors():
        evaluator = _evaluator(settings)
    bar = keras.utils.Progbar(evaluator.steps, unit_name="step")
    times = []

    def progress(done: int) -> None:
        times.append(time.perf_counter())
        bar.update(done)

    began = time.perf_counter()
    result = evaluator.run(progress)
    # The first step traces and compiles: it counts only where there is no other.
    times = times if len(times) > 1 else [began, *times]
    images = (len(times) - 1) * settings.batch_size
    return {
        **result,
        "examples": evaluator.split.size,
        "images_per_second": images / (times[-1] - times[0]),
    }


def _evaluator(settings: EvaluateConfig) -> Evaluator:
    if settings.batch_size < 1:
        raise ValueError(
            f"--batch-size must be more than 0. Received: {settings.batch_size}."
        )
    path, recorded = _model_file(settings)
    run = recorded.get("config", {})
    dataset = settings.dataset or run.get("dataset")
    normalization = settings.normalization or run.get("normalization")
    for option, value in (("--dataset", dataset), ("--normalization", normalization)):
        if value is None:
            raise ValueError(
                f"{option} must be given: {path!r} is not in a run's folder."
            )
    placement = distribution.open_placement(
        settings.strategy, settings.virtual_devices, settings.tpu
    )
    distribution.check_global_batch(settings.batch_size, placement.strategy)
    data_dir = settings.data_dir or run.get("data_dir")
    source = open_source(dataset, data_dir, settings.download)
    name = settings.eval_split
    if name is None:
        same_data = dataset == run.get("dataset")
        name = recorded["eval_split"] if same_data else source.evaluation_split
    split = open_split(source, name, "--eval-split")
    with distribution.lost_workers(placement), placement.strategy.scope():
        model = keras.saving.load_model(path, compile=False)
    _check_model(model, path, len(source.class_names), dataset)
    size = _image_size(model, settings.image_size or recorded.get("image_size"))
    eval_resize = settings.eval_resize or recorded.get("eval_resize") or size
    check_sizes(size, eval_resize, minimum=1)
    transform = Transform(
        image_size=size,
        eval_resize=eval_resize,
        augment="none",
        normalization=normalization,
        classes=len(source.class_names),
    )
    xla = distribution.uses_xla(settings.jit, placement, sync_batch_norm=False)
    return Evaluator(model, split, transform, settings.batch_size, placement, xla)


def _image_size(model: keras.Model, wished: int | None) -> int:
    """Side of the images: the model's own, or, where it takes any size, as wished."""
    height, width = model.input_shape[1:3]
    if height != width:
        raise ValueError(
            "RUN-OR-MODEL must take square images. Received a model for "
            f"{height}x{width}."
        )
    if height is None and wished is None:
        raise ValueError("--image-size must be given: the model takes any size.")
    return height or wished


def _model_file(settings: EvaluateConfig) -> tuple[str, dict[str, Any]]:
    """The .keras file, and the config.json of the run it belongs to, if any."""
    path = settings.run_or_model
    if os.path.isdir(path):
        recorded = RunFolder(path).read_config()
        path = os.path.join(path, f"{settings.saved}.keras")
    else:
        folder = RunFolder(os.path.dirname(path))
        in_run = os.path.exists(folder.file(CONFIG_FILE))
        recorded = folder.read_config() if in_run else {}
    if not os.path.isfile(path) or not path.endswith(".keras"):
        raise ValueError(
            "RUN-OR-MODEL must be the folder of a run that has finished an epoch, or a "
            f".keras file. Received: {settings.run_or_model!r}."
        )
    return path, recorded


def _check_model(model: keras.Model, path: str, classes: int, dataset: str) -> None:
    if not any(layer.name == HEAD for layer in model.layers):
        raise ValueError(
            f"RUN-OR-MODEL must be a network of this package with its top. "
            f"Received: {path!r}."
        )
    if model.output_shape[-1] != classes:
        raise ValueError(
            f"--dataset must have the model's {model.output_shape[-1]} classes. "
            f"Received: {dataset!r} with {classes}."
        )
