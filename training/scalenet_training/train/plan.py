"""From settings to everything a run needs, checked before anything is written."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import sys
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

import scalenet_tf
from scalenet_tf import Architecture
from scalenet_tf.profiling import count_parameters
from scalenet_tf.weights import LoadReport
from scalenet_training.data.augmentation import AUGMENTATIONS, Augmentation
from scalenet_training.data.batches import training_batches
from scalenet_training.data.source import Source
from scalenet_training.data.splits import Split
from scalenet_training.data.transform import Transform
from scalenet_training.devices import placement as distribution
from scalenet_training.devices.agreement import check_alike
from scalenet_training.devices.placement import Placement
from scalenet_training.errors import usage_errors
from scalenet_training.networks.starting_point import resolve_architecture
from scalenet_training.networks.teacher import open_teacher
from scalenet_training.runs.record import RunRecord
from scalenet_training.runs.run_data import RunData, trained_on
from scalenet_training.runs.versions import versions
from scalenet_training.settings.training import PLACES, TrainConfig
from scalenet_training.tracking.forwarding import Forwarding
from scalenet_training.tracking.trackers import find_tracker
from scalenet_training.train.building import build, precision
from scalenet_training.train.examples import Examples, open_examples
from scalenet_training.train.step import Distillation, Learner, Objective
from scalenet_training.train.step.optimizers import OPTIMIZERS
from scalenet_training.train.step.schedule import RecipeSchedule
from scalenet_training.train.variation import (
    check_pairs,
    loss_of,
    mixing_of,
    sampling_of,
)


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
        data: What the run's folder keeps of the data.
        placement: Where the replicas are.
        xla: Whether a replica's forward and backward pass is compiled.
        learner: The network, its optimizer and its average, in the strategy's scope.
        schedule: Learning rate by step.
        tracking: Tells a tracker of the run, in the chief alone.
        start: What was loaded from `weights`; `None` if nothing was.
        distillation: What is learned from the teacher, if there is one.
    """

    config: TrainConfig
    architecture: Architecture
    source: Source
    train_split: Split
    eval_split: Split
    transform: Transform
    data: RunData
    placement: Placement
    xla: bool
    learner: Learner
    schedule: RecipeSchedule
    tracking: Forwarding
    start: LoadReport | None = None
    distillation: Distillation | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Full global batches in the training split."""
        return self.config.steps_per_epoch(self.train_split.size)

    @property
    def total_steps(self) -> int:
        """Steps after which the run ends."""
        return self.config.total_steps(self.train_split.size)

    @property
    def evaluation_name(self) -> str:
        """The split that is evaluated, as the settings or the dataset name it."""
        return self.config.eval_split or self.source.evaluation_split

    @property
    def trained_on(self) -> int | None:
        """How many of the evaluation examples are trained on; None if not known."""
        return trained_on(
            self.data.examples,
            self.config.train_split,
            self.source,
            self.eval_split,
            self.evaluation_name,
        )

    @property
    def objective(self) -> Objective:
        """What is minimised."""
        decoupled = OPTIMIZERS[self.config.optimizer].decoupled
        return Objective(
            global_batch=self.config.batch_size,
            loss=loss_of(self.config, self.train_split, self.transform.classes),
            weight_decay=0.0 if decoupled else self.config.weight_decay,
            decay_all=self.config.decay_all,
            gamma_l1=self.config.gamma_l1,
            clip_norm=self.config.clip_norm,
            accumulate=self.config.accumulate,
            average_decay=self.config.ema,
            stochastic_depth=self.config.stochastic_depth,
            seed=self.config.seed,
            distillation=self.distillation,
        )

    @property
    def final_model(self) -> keras.Model:
        """What is evaluated and saved: `learner.average` if there is one."""
        average = self.learner.average
        return self.learner.model if average is None else average

    @property
    def shards(self) -> int:
        """Parts of the training split that are read apart, each in its own order."""
        return self.placement.workers if self.config.sharding == "file" else 1

    def training_batches(
        self, epoch: int, start: int = 0, as_evaluated: bool = False
    ) -> tf.distribute.DistributedDataset:
        """The global batches of an epoch, from the `start`-th on.

        Args:
            epoch: Counted from 0.
            start: Number of batches to skip.
            as_evaluated: Whether images are of evaluation's size, in place of
                training's.
        """
        config, transform = self.config, self.transform
        if as_evaluated:
            transform = dataclasses.replace(transform, train_size=None)
        return self.placement.strategy.distribute_datasets_from_function(
            training_batches(
                self.train_split,
                transform,
                config.batch_size,
                config.seed,
                epoch,
                start,
                config.sharding,
                sampling_of(config),
                mixing_of(config),
            )
        )

    def describe_start(self) -> str:
        """What was loaded and what trains, in one line."""
        model = self.learner.model
        trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
        trains = f"{trained:,} of {count_parameters(model):,} parameters train"
        if self.config.freeze_epochs:
            trains += f" to the end of epoch {self.config.freeze_epochs}, then all"
        return trains if self.start is None else f"{self.start}; {trains}"

    def record(self) -> RunRecord:
        """What the run says of itself in its folder."""
        distillation = self.distillation
        return RunRecord(
            config=self.config,
            command=sys.argv,
            architecture=self.architecture.to_record(),
            class_names=list(self.source.class_names),
            data=self.data.facts,
            teacher=None if distillation is None else distillation.teacher.digest,
            image_size=self.transform.image_size,
            eval_resize=self.transform.evaluation.resize,
            eval_split=self.evaluation_name,
            training_examples=self.train_split.size,
            evaluation_examples=self.eval_split.size,
            shards=self.shards,
            parameters=count_parameters(self.learner.model),
            macs=scalenet_tf.count_macs(self.final_model),
            strategy=self.placement.name,
            replicas=self.placement.replicas,
            workers=self.placement.workers,
            xla=self.xla,
            versions=versions(),
        )


def prepare(
    config: TrainConfig,
    workdir: str | None = None,
    augmentations: Mapping[str, Augmentation] = AUGMENTATIONS,
    resumes: bool = False,
) -> Plan:
    """Checks the settings against each other and the machine, and builds the model.

    Args:
        config: The settings.
        workdir: Folder of a run or a search; what it knows of the images is not read
            again.
        augmentations: The table that has the settings' augmentation.
        resumes: Whether a checkpoint replaces the weights that training starts from.

    Raises:
        UsageError: A setting is not allowed, a file cannot be read, a package is
            missing, or the workers of a cluster were not started alike.
    """
    with usage_errors():
        architecture = resolve_architecture(config.model)
    placement = distribution.open_placement(
        config.strategy, config.virtual_devices, config.tpu
    )
    distribution.check_global_batch(
        config.batch_size, placement.strategy, config.accumulate
    )
    check_pairs(config, placement.replicas)
    xla = distribution.uses_xla(config.jit, placement, config.sync_batch_norm)
    with usage_errors():
        tracker = find_tracker(config.track) if placement.chief else None
        examples = open_examples(config, architecture, workdir, augmentations)
    steps_per_epoch = config.steps_per_epoch(examples.train_split.size)
    schedule = _schedule(config, steps_per_epoch)
    data = examples.data
    with distribution.lost_workers(placement):
        check_alike(placement, lambda: _shared(config, architecture, examples, data))
        with placement.strategy.scope(), precision(config.mixed_precision):
            distillation = _distillation(config, examples)
            learner, start = build(
                config, architecture, examples.transform, schedule, resumes
            )
        check_alike(placement, lambda: _started(learner, distillation))
    return Plan(
        config=config,
        architecture=architecture,
        source=examples.source,
        train_split=examples.train_split,
        eval_split=examples.eval_split,
        transform=examples.transform,
        data=data,
        placement=placement,
        xla=xla,
        learner=learner,
        schedule=schedule,
        tracking=Forwarding(tracker),
        start=start,
        distillation=distillation,
    )


def _shared(
    config: TrainConfig, architecture: Architecture, examples: Examples, data: RunData
) -> dict[str, Any]:
    """What all workers must have alike before they build a network together.

    Places may differ from machine to machine; what is behind them may not.
    """
    settings = config.identity()
    own = {n: value for n, value in settings.items() if n not in PLACES}
    for name in ("max_steps", "checkpoint_steps"):
        own[name] = getattr(config, name)
    return {
        **{f"`{name}`": value for name, value in own.items()},
        "the network (`model`)": architecture.to_record(),
        "the examples (`dataset`)": data.facts,
        "the names of the classes": list(examples.source.class_names),
    }


def _started(learner: Learner, distillation: Distillation | None) -> dict[str, Any]:
    """What all workers must have alike before they train it."""
    digest = hashlib.sha256()
    for weight in learner.model.weights:
        digest.update(weight.numpy().tobytes())
    return {
        "the weights to start from (`weights`)": digest.hexdigest(),
        "`teacher`": None if distillation is None else distillation.teacher.digest,
    }


def _distillation(config: TrainConfig, examples: Examples) -> Distillation | None:
    if config.teacher is None:
        return None
    names = examples.source.class_names
    teacher = open_teacher(config.teacher, examples.transform.training, names)
    return Distillation(teacher, config.teacher_share, config.teacher_temperature)


def _schedule(config: TrainConfig, steps_per_epoch: int) -> RecipeSchedule:
    return RecipeSchedule(
        config.learning_rate,
        total_steps=config.epochs * steps_per_epoch,
        warmup_steps=round(config.warmup_epochs * steps_per_epoch),
        kind=config.schedule,
        milestones=config.milestones,
    )
