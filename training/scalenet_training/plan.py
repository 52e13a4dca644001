"""From settings to everything a run needs, checked before anything is written."""

from __future__ import annotations

import dataclasses
import platform
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import scalenet_tf
from scalenet_tf import Architecture
from scalenet_tf.models import HEAD
from scalenet_training import distribution
from scalenet_training.config import TrainConfig
from scalenet_training.pipeline import Transform, check_sizes
from scalenet_training.schedule import RecipeSchedule
from scalenet_training.sources import Source, open_source, open_split
from scalenet_training.splits import Split
from scalenet_training.starting_point import resolve_architecture, start_from
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
    image_size = config.image_size or architecture.native_size
    eval_resize = config.eval_resize or image_size
    check_sizes(image_size, eval_resize, architecture.minimum_size)
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
        eval_resize=eval_resize,
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
        xla=distribution.uses_xla(config.jit, config.virtual_devices),
        model=model,
        average=average,
        optimizer=optimizer,
        schedule=schedule,
    )


def versions() -> dict[str, str]:
    """Versions of what computes."""
    return {
        "scalenet_tf": scalenet_tf.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


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
                start_from(model, config.weights)
            average = None
            if config.ema:
                average = scalenet_tf.ScaleNet(
                    architecture, input_shape=shape, classes=transform.classes
                )
                average.set_weights(model.get_weights())
            if config.freeze:
                for layer in model.layers:
                    layer.trainable = layer.name == HEAD
            optimizer = keras.optimizers.SGD(schedule, momentum=config.momentum)
            optimizer.build(model.trainable_variables)
    finally:
        keras.config.set_dtype_policy(policy)
    return model, average, optimizer
