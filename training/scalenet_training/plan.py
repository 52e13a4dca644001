"""From settings to everything a run needs, checked before anything is written."""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import scalenet_tf
from scalenet_tf import Architecture
from scalenet_tf.models import check_weights
from scalenet_training import distribution
from scalenet_training.config import TrainConfig
from scalenet_training.pipeline import Transform
from scalenet_training.schedule import RecipeSchedule
from scalenet_training.sources import Source, open_source
from scalenet_training.splits import Split
from scalenet_training.step import Objective


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run, ready to start.

    Attributes:
        config: The settings.
        architecture: What is trained.
        source: The dataset.
        train_split: Examples to train on.
        eval_split: Examples to evaluate on.
        transform: From stored images to the network's input.
        strategy: Where the replicas are.
        xla: Whether a replica's forward and backward pass is compiled.
        model: The network, in the strategy's scope.
        average: The network whose weights are the moving average, if there is one.
        optimizer: SGD, built for the trainable weights.
        schedule: Learning rate by step.
    """

    config: TrainConfig
    architecture: Architecture
    source: Source
    train_split: Split
    eval_split: Split
    transform: Transform
    strategy: tf.distribute.Strategy
    xla: bool
    model: keras.Model
    average: keras.Model | None
    optimizer: keras.optimizers.Optimizer
    schedule: RecipeSchedule

    @property
    def steps_per_epoch(self) -> int:
        """Full global batches in the training split."""
        return self.train_split.size // self.config.batch_size

    @property
    def total_steps(self) -> int:
        """Steps after which the run ends."""
        steps = self.config.epochs * self.steps_per_epoch
        return min(steps, self.config.max_steps or steps)

    @property
    def objective(self) -> Objective:
        """What is minimised."""
        return Objective(
            global_batch=self.config.batch_size,
            label_smoothing=self.config.label_smoothing,
            weight_decay=self.config.weight_decay,
            decay_all=self.config.decay_all,
        )

    @property
    def final_model(self) -> keras.Model:
        """What is evaluated and saved: the average if there is one."""
        return self.model if self.average is None else self.average

    def describe(self) -> dict[str, Any]:
        """The content of config.json."""
        return {
            "config": self.config.to_json(),
            "command": sys.argv,
            "architecture": self.architecture.to_record(),
            "class_names": list(self.source.class_names),
            "image_size": self.transform.image_size,
            "eval_resize": self.transform.eval_resize,
            "eval_split": self.config.eval_split or self.source.evaluation_split,
            "training_examples": self.train_split.size,
            "evaluation_examples": self.eval_split.size,
            "parameters": self.model.count_params(),
            "macs": scalenet_tf.count_macs(self.model),
            "replicas": self.strategy.num_replicas_in_sync,
            "xla": self.xla,
            "versions": versions(),
        }


def prepare(config: TrainConfig) -> Plan:
    """Checks the settings against each other and the machine, and builds the model.

    Raises:
        ValueError: A setting is not allowed; the message names it.
        OSError: A file cannot be read.
        ImportError: A package is missing.
    """
    architecture = resolve_architecture(config.model)
    distribution.configure_virtual_devices(config.virtual_devices)
    strategy = distribution.create_strategy(config.strategy, config.virtual_devices)
    distribution.check_global_batch(config.batch_size, strategy)
    image_size = _image_size(config, architecture)
    source = open_source(config.dataset, config.data_dir, config.download)
    train_split = open_split(source, config.train_split, "--train-split")
    if train_split.size < config.batch_size:
        raise ValueError(
            f"--batch-size must be at most the {train_split.size} examples of "
            f"--train-split {config.train_split}. Received: {config.batch_size}."
        )
    eval_name = config.eval_split or source.evaluation_split
    transform = Transform(
        image_size=image_size,
        eval_resize=config.eval_resize or image_size,
        augment=config.augment,
        normalization=config.normalization,
        classes=len(source.class_names),
    )
    schedule = _schedule(config, train_split.size // config.batch_size)
    model, average, optimizer = _build(
        config, architecture, transform, strategy, schedule
    )
    return Plan(
        config=config,
        architecture=architecture,
        source=source,
        train_split=train_split,
        eval_split=open_split(source, eval_name, "--eval-split"),
        transform=transform,
        strategy=strategy,
        xla=distribution.uses_xla(config.jit),
        model=model,
        average=average,
        optimizer=optimizer,
        schedule=schedule,
    )


def resolve_architecture(model: str) -> Architecture:
    """The architecture of a public name or of a JSON file."""
    if model.endswith(".json"):
        return scalenet_tf.load_architecture(model)
    try:
        return scalenet_tf.get_architecture(model)
    except ValueError as error:
        raise ValueError(f"--model: {error} Or give a .json file.") from error


def versions() -> dict[str, str]:
    """Versions of what computes."""
    return {
        "scalenet_tf": scalenet_tf.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _image_size(config: TrainConfig, architecture: Architecture) -> int:
    size = config.image_size or architecture.native_size
    if size < architecture.minimum_size:
        raise ValueError(
            f"--image-size must be at least {architecture.minimum_size} for "
            f"{architecture.name}. Received: {size}."
        )
    if config.eval_resize is not None and config.eval_resize < size:
        raise ValueError(
            f"--eval-resize must be at least the image size, {size}. "
            f"Received: {config.eval_resize}."
        )
    return size


def open_split(source: Source, name: str, option: str) -> Split:
    """Opens a split; errors name the option.

    Raises:
        ValueError: There is no such split, or it has no examples.
    """
    try:
        split = source.open_split(name)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from error
    if split.size == 0:
        raise ValueError(f"{option}: {name!r} of {source.name} has no examples.")
    return split


def _schedule(config: TrainConfig, steps_per_epoch: int) -> RecipeSchedule:
    return RecipeSchedule(
        config.learning_rate,
        total_steps=config.epochs * steps_per_epoch,
        warmup_steps=round(config.warmup_epochs * steps_per_epoch),
        kind=config.schedule,
        milestones=config.milestones,
    )


def _build(
    config: TrainConfig,
    architecture: Architecture,
    transform: Transform,
    strategy: tf.distribute.Strategy,
    schedule: RecipeSchedule,
) -> tuple[keras.Model, keras.Model | None, keras.optimizers.Optimizer]:
    shape = (transform.image_size, transform.image_size, 3)
    policy = keras.config.dtype_policy()
    if config.mixed_precision != "off":
        keras.config.set_dtype_policy(f"mixed_{config.mixed_precision}")
    try:
        with strategy.scope():
            keras.utils.set_random_seed(config.seed)
            model = scalenet_tf.ScaleNet(
                architecture, input_shape=shape, classes=transform.classes
            )
            if config.weights is not None:
                _start_from(model, config.weights)
            average = None
            if config.ema:
                average = scalenet_tf.ScaleNet(
                    architecture, input_shape=shape, classes=transform.classes
                )
                average.set_weights(model.get_weights())
            if config.freeze:
                for layer in model.layers:
                    layer.trainable = layer.name == "logits"
            optimizer = keras.optimizers.SGD(schedule, momentum=config.momentum)
            optimizer.build(model.trainable_variables)
    finally:
        keras.config.set_dtype_policy(policy)
    return model, average, optimizer


def _start_from(model: keras.Model, path: str) -> None:
    """Loads weights; the classifier only where it has as many classes."""
    if not os.path.isfile(path) or not path.endswith((".weights.h5", ".keras")):
        raise ValueError(
            "--weights must be the path of a .weights.h5 or .keras file. "
            f"Received: {path!r}."
        )
    body = keras.Model(model.inputs, model.get_layer("avg_pool").output)
    if path.endswith(".weights.h5"):
        check_weights(path, classes=None, channels=model.input_shape[-1])
        try:
            check_weights(path, model.output_shape[-1], model.input_shape[-1])
            model.load_weights(path)
        except ValueError:
            body.load_weights(path)
        return
    donor = keras.saving.load_model(path, compile=False)
    for layer in model.layers:
        weights = donor.get_layer(layer.name).get_weights()
        fits = [w.shape for w in weights] == [w.shape for w in layer.weights]
        if not fits and layer.name != "logits":
            raise ValueError(
                f"--weights {path!r} is another network: layer {layer.name} has other "
                "shapes."
            )
        if fits:
            layer.set_weights(weights)
