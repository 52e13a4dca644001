"""The settings of a training run, which its record holds."""

from __future__ import annotations

import dataclasses
import os
from typing import Annotated, Any, ClassVar, Literal

from scalenet_training.data.files.manifest import is_manifest
from scalenet_training.settings.augmentation import AugmentationOptions, LossOptions
from scalenet_training.settings.base import (
    ASCENDING_FRACTIONS,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    SEED_NUMBER,
    OptionGroup,
    Settings,
    resumable_fields,
)
from scalenet_training.settings.groups import (
    DataOptions,
    DeviceOptions,
    StorageOptions,
    TrackerName,
)
from scalenet_training.settings.inputs import FILE, NETWORK, WEIGHTS
from scalenet_training.settings.optimisation import (
    DistillationOptions,
    OptimiserOptions,
    OutcomeOptions,
    RegularisationOptions,
    check_optimisation,
)
from scalenet_training.text import shown

PresetName = Literal[
    "digits",
    "cifar10",
    "cifar100",
    "imagenet",
    "rsb-a2",
    "rsb-a3",
    "photos",
    "finetune",
]


@dataclasses.dataclass(frozen=True)
class PresetOptions(OptionGroup):
    """Where the defaults come from."""

    resumable: ClassVar[bool] = True

    preset: PresetName = "digits"
    """Which defaults the other options start from. digits: scikit-learn's digits, runs
    anywhere; cifar10, cifar100, imagenet: the published recipes; rsb-a2, rsb-a3: those
    of "ResNet strikes back"; photos: images of your own, from scratch; finetune: the
    same from --weights. Default: what fits --dataset and --weights, as the first lines
    of a run say (docs/recipes.md)."""

    recipe: Annotated[str | None, FILE] = None
    """A TOML file of options, or the config.json of a run: its options hold where they
    are not given here, those of the preset where it has none."""


@dataclasses.dataclass(frozen=True)
class NetworkOptions(OptionGroup):
    """What is trained."""

    model: Annotated[str, NETWORK] = "ScaleNetCifar38"
    """A public name (see scalenet_tf.list_models), an architecture's JSON file, or
    file.json:Name where the file holds several. 'seed:' before any of these: its seed
    network, with all neurons at each scale, to learn an allocation with."""

    zero_init_residual: bool = False
    """Start the scale of each bottleneck's last batch norm at zero: a new network
    begins as its shortcuts alone. Weights that are given replace it."""

    weights: Annotated[str | None, WEIGHTS] = None
    """Weights to start from: a .weights.h5, .keras or .h5 file, or weights that come
    with the package, as cifar10:ScaleNetCifar38. Their classifier is used where the
    number of classes is the same, else the classifier starts anew."""

    freeze: bool = False
    """Train the classifier alone: the rest keeps its weights and BN statistics."""


@dataclasses.dataclass(frozen=True)
class BatchOptions(OptionGroup):
    """The global batch, and how the replicas compute it."""

    batch_size: Annotated[int, POSITIVE] = 32
    """Global batch: summed over all replicas."""

    accumulate: Annotated[int, POSITIVE] = 1
    """Parts in which each replica computes its batch, one after the other, to save
    memory. Batch norm sees one part at a time."""

    sync_batch_norm: bool = False
    """Batch norm over the global batch, not over each replica's part. Not with XLA."""

    mixed_precision: Literal["off", "bfloat16", "float16"] = "off"
    """Compute in 16 bits, keep weights in float32. float16 with a dynamic loss
    scale."""

    sharding: Literal["data", "file"] = "data"
    """What a worker reads. data: everything, and it keeps its part of each global
    batch, so that the order does not depend on the number of workers; file: its own
    contiguous part of --train-split, which changes the order of examples."""


@dataclasses.dataclass(frozen=True)
class OptimisationOptions(OptionGroup):
    """The schedule of the learning rate, and the penalties."""

    epochs: Annotated[int, POSITIVE] = 8
    """Epochs in all. A run that has ended goes on with a larger number."""

    learning_rate: Annotated[float, POSITIVE] = 0.02
    """Highest learning rate, after the warm-up."""

    schedule: Literal["cosine", "steps"] = "cosine"
    """cosine: to zero over the run; steps: a tenth at each milestone."""

    milestones: Annotated[tuple[float, ...], ASCENDING_FRACTIONS] = (0.5, 0.75)
    """For --schedule steps: when to divide by ten, as fractions of the run."""

    warmup_epochs: Annotated[float, NOT_NEGATIVE] = 1.0
    """Epochs over which the learning rate rises linearly from zero."""

    momentum: Annotated[float, FRACTION] = 0.9
    """Momentum of sgd and muon; 0.95 is published for muon."""

    weight_decay: Annotated[float, NOT_NEGATIVE] = 1e-4
    """For sgd, an L2 penalty: weight_decay / 2 times the sum of the squared kernels.
    For adamw, lamb and muon the decoupled decay: a step takes that part, times the
    learning rate, of the kernels (lamb: times its trust ratio, too)."""

    decay_all: bool = False
    """Also decay batch norms' scales and offsets and biases, as PyTorch's SGD does."""

    gamma_l1: Annotated[float, NOT_NEGATIVE] = 0.0
    """L1 penalty of the batch norm scales in SA blocks, gamma_l1 times the sum of
    |gamma|: spreads the importance of neurons, for learning an allocation."""

    clip_norm: Annotated[float, NOT_NEGATIVE] = 0.0
    """Scale the gradient of the loss down to this global norm, summed over all
    replicas. 0: never."""

    label_smoothing: Annotated[float, FRACTION] = 0.0
    """Part of the target spread evenly over all classes."""

    ema: Annotated[float, FRACTION] = 0.0
    """Decay of an exponential moving average of all weights, such as 0.999, which is
    what is evaluated and saved. 0: none."""

    seed: Annotated[int, SEED_NUMBER] = 0
    """Seed of the initial weights, the order of examples and the augmentation."""


@dataclasses.dataclass(frozen=True)
class RunOptions(OptionGroup):
    """The run's folder and its checkpoints."""

    resumable: ClassVar[bool] = True

    max_steps: Annotated[int | None, POSITIVE] = None
    """Stop after this many steps in all, to try things; the schedule stays as it is."""

    checkpoint_minutes: Annotated[float, POSITIVE] = 10.0
    """Save a checkpoint that often; one is also saved at the end of each epoch."""

    checkpoint_steps: Annotated[int, NOT_NEGATIVE] = 0
    """Save a checkpoint also each time this many steps were made. 0: only by time."""

    checkpoints_kept: Annotated[int, POSITIVE] = 3
    """How many checkpoints stay; the newest that can be read is resumed from."""

    track: TrackerName = "none"
    """Also send the settings, each epoch's numbers and, at the end, the files of the
    run to MLflow or Weights & Biases; their environment variables say where."""

    workdir: str | None = None
    """Folder of the run. Default: runs/<dataset>-<model>. The same command run again
    resumes the run that is there."""


# Files and folders, which another machine may have elsewhere.
PLACES = ("dataset", "model", "weights", "teacher")
# What a run goes on with if there is more of it.
_MAY_GROW = ("epochs", "early_stopping")


# Python takes the fields of the last base first.
@dataclasses.dataclass(frozen=True)
class TrainConfig(
    RunOptions,
    OutcomeOptions,
    DistillationOptions,
    RegularisationOptions,
    OptimiserOptions,
    OptimisationOptions,
    LossOptions,
    BatchOptions,
    DeviceOptions,
    StorageOptions,
    AugmentationOptions,
    DataOptions,
    NetworkOptions,
    PresetOptions,
    Settings,
):
    """One training run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        check_optimisation(vars(self), defaults)

    @property
    def run_folder(self) -> str:
        """`workdir`, or its default."""
        if self.workdir is not None:
            return self.workdir
        dataset = shown(os.path.basename(os.path.normpath(self.dataset)))
        if is_manifest(dataset):
            dataset = os.path.splitext(dataset)[0]
        model = self.model.removeprefix("seed:")
        model = os.path.splitext(os.path.basename(model))[0]
        suffix = "Seed" if self.model.startswith("seed:") else ""
        return os.path.join("runs", f"{dataset}-{model}{suffix}")

    def steps_per_epoch(self, examples: int) -> int:
        """Full global batches in a training split of so many examples."""
        return examples // self.batch_size

    def total_steps(self, examples: int) -> int:
        """Steps after which a run on so many examples ends."""
        steps = self.epochs * self.steps_per_epoch(examples)
        return min(steps, self.max_steps or steps)

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(self).items()
        }

    def identity(self) -> dict[str, Any]:
        """What the run computes, as plain JSON values; not where and how long."""
        free = resumable_fields(TrainConfig)
        return {n: value for n, value in self.to_json().items() if n not in free}

    def differences(self, recorded: TrainConfig) -> dict[str, tuple[Any, Any]]:
        """Fields in which this is another run than the recorded one.

        Returns:
            Field -> (recorded, now). More epochs are no difference, nor is more
            patience, where a run had some, nor where or on how many devices it
            computes.
        """
        before, now = recorded.identity(), self.identity()
        return {
            name: (before[name], value)
            for name, value in now.items()
            if comparable(name, before[name]) != comparable(name, value)
            and not (name in _MAY_GROW and value > before[name] > 0)
        }


def comparable(name: str, value: Any) -> Any:
    """A setting for comparisons: a folder or a file is one, however it is spelt.

    What has a name of its own, such as `digits` or `ScaleNet50`, stays different from
    all others. What is behind a name is compared when it is open.

    Args:
        name: Of the setting.
        value: Its value.
    """
    if name not in PLACES or not isinstance(value, str):
        return value
    return os.path.abspath(os.path.expanduser(value))
