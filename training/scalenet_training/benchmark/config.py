"""Settings of the measurements. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal, get_args

import tyro

from scalenet_training.data.augmentation import AugmentationName
from scalenet_training.errors import SettingError, UsageError
from scalenet_training.export.config import Format
from scalenet_training.predict.config import URL, ServerOptions
from scalenet_training.settings.base import (
    EVEN,
    IN_A_FOLDER,
    NOT_NEGATIVE,
    POSITIVE,
    POSITIVE_NUMBERS,
    SIDE,
    OptionGroup,
    Settings,
    suffix,
)
from scalenet_training.settings.inputs import MODEL, NETWORK, network, one_of

# Other networks, of `benchmark.peers`, which needs TensorFlow.
PEER_NAMES = ("KerasResNet50", "SEResNet50", "ResNeXt50")

Work = Literal["inference", "step"]
Precision = Literal["off", "bfloat16"]
CsvFile = Annotated[str | None, suffix(".csv"), IN_A_FOLDER]


@dataclasses.dataclass(frozen=True)
class ModelsConfig(Settings):
    """Times networks in turns, on noise, with random weights and statistics.

    Ratios are to the first of them. Memory and the time of the first call are those of
    a process of their own.
    """

    networks: Annotated[tyro.conf.Positional[tuple[str, ...]], network(*PEER_NAMES)] = (
        "ResNet50",
        "ScaleNet50",
    )
    """Public names (see scalenet_tf.list_models), architectures' JSON files, or
    KerasResNet50, SEResNet50, ResNeXt50."""

    work: Work = "inference"
    """inference: of a batch; step: of training, both passes and the update."""

    formats: Annotated[tuple[str, ...], one_of(*get_args(Format))] = ()
    """Also inference of these export formats: savedmodel, tflite, onnx, openvino."""

    pytorch: bool = False
    """Also the same networks in PyTorch, in turns with TensorFlow, each in a process of
    its own; not KerasResNet50 and the like."""

    keras_norm: bool = False
    """Also the same networks with the batch norm of Keras, in turns; not KerasResNet50
    and the like."""

    batch_sizes: Annotated[tuple[int, ...], POSITIVE_NUMBERS] = (1, 16)
    """Images of a batch, one measurement each."""

    image_size: Annotated[int | None, SIDE] = None
    """Side of the images. Default: the network's native size, 224 for the others."""

    classes: Annotated[int, POSITIVE] = 1000
    """Classes of the last layer."""

    mixed_precision: Precision = "off"
    """Compute in 16 bits, keep weights in float32."""

    jit: bool = False
    """Compile with XLA."""

    rounds: Annotated[int, POSITIVE] = 20
    """Times that each network runs; medians are reported."""

    output: CsvFile = None
    """A .csv file to write the table to as well."""

    plot: Annotated[str | None, suffix(".png", ".svg"), IN_A_FOLDER] = None
    """A .png or .svg file for a figure of time against MACs."""

    def check(self) -> None:
        """Checks what can be checked before anything is built.

        Raises:
            UsageError: A setting is not allowed.
        """
        if not self.networks:
            raise UsageError("`networks` must be one or more. Received: none.")
        if self.formats and (self.work == "step" or self.mixed_precision != "off"):
            raise UsageError(
                "`formats` are for `work` inference without `mixed_precision`. "
                f"Received: work={self.work!r}, "
                f"mixed_precision={self.mixed_precision!r}."
            )


@dataclasses.dataclass(frozen=True)
class ProfileConfig(Settings):
    """Where the time of a step, or of inference, goes: operations by their time.

    By TensorFlow's profiler, on noise, with random weights and statistics.
    """

    network: Annotated[tyro.conf.Positional[str], network(*PEER_NAMES)] = (
        "ScaleNetCifar38"
    )
    """As of `benchmark models`."""

    work: Work = "step"
    """inference: of a batch; step: of training, both passes and the update."""

    batch_size: Annotated[int, POSITIVE] = 128
    """Images of a batch."""

    image_size: Annotated[int | None, SIDE] = None
    """Side of the images. Default: the network's native size, 224 for the others."""

    classes: Annotated[int, POSITIVE] = 10
    """Classes of the last layer."""

    mixed_precision: Precision = "off"
    """Compute in 16 bits, keep weights in float32."""

    calls: Annotated[int, POSITIVE] = 10
    """Steps, or batches, that are profiled."""

    top: Annotated[int, POSITIVE] = 20
    """Rows of the table."""

    by: Literal["type", "name"] = "type"
    """One row for each type of operation, or for each operation."""

    output: CsvFile = None
    """A .csv file to write all rows to as well."""


@dataclasses.dataclass(frozen=True)
class ExportSpeedConfig(Settings):
    """Exports a network in every format and times them in turns.

    On noise, with all cores, in a temporary folder. A TFLite file takes one image at a
    time: a batch of 16 is 16 runs of it.
    """

    run_or_model: Annotated[tyro.conf.Positional[str], MODEL]
    """Folder of a run, a .keras file, or weights that come with the package."""

    saved: Literal["best", "last"] = "best"
    """For a run: the model with the lowest validation error, or the last."""

    image_size: Annotated[int | None, SIDE] = None
    """Side of the images, for a model that takes any size. Default: the run's."""

    batch_sizes: Annotated[tuple[int, ...], POSITIVE_NUMBERS] = (1, 16)
    """Images of a batch, one measurement each."""

    rounds: Annotated[int, POSITIVE] = 20
    """Times that each format runs; medians are reported."""

    output: CsvFile = None
    """A .csv file to write the table to as well."""


@dataclasses.dataclass(frozen=True)
class ChecksConfig(Settings):
    """What the checks of a request cost a SavedModel.

    Calls, in shuffled order, each signature of a SavedModel with checks, of one
    without, and of a copy of that, whose difference says how far such figures can be
    trusted. Random weights and statistics; one image.
    """

    network: Annotated[tyro.conf.Positional[str], NETWORK] = "ScaleNetCifar38"
    """A public name (see scalenet_tf.list_models), or an architecture's JSON file."""

    threads: Annotated[int, POSITIVE] = 1
    """Threads of TensorFlow, within an operation and between operations."""

    constants: bool = False
    """Weights as constants of the graph, as `export --constants` makes them."""

    calls: Annotated[int, POSITIVE] = 2000
    """Calls of each signature of each SavedModel."""

    output: CsvFile = None
    """A .csv file to write the table to as well."""


@dataclasses.dataclass(frozen=True)
class LoadOptions(OptionGroup):
    """What is asked, by how many."""

    images: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="IMAGE [IMAGE ...]"),
    ]
    """Image files and folders, as of `predict`; they are asked for in turns."""

    model: Annotated[str, URL]
    """A served model, as of `predict`: http[s]://HOST:PORT/v1/models/NAME,
    http[s]://HOST:PORT/v2/models/NAME or grpc[s]://HOST[:8500]/NAME."""

    clients: Annotated[tuple[int, ...], POSITIVE_NUMBERS] = (1, 8, 32)
    """How many ask at once: one measurement each. Each has a connection of its own and
    asks again as soon as it is answered."""

    requests: Annotated[int, POSITIVE] = 1000
    """Requests of a measurement, of all clients together."""

    broken_every: Annotated[int, NOT_NEGATIVE] = 0
    """Every so many requests, one with bytes that are no image; 0: none. The answers to
    the others must not change."""

    compare: Annotated[str | None, MODEL] = None
    """The run, weights or export that is served: the first answers are compared with
    its own."""

    output: CsvFile = None
    """A .csv file to write the table to as well."""


@dataclasses.dataclass(frozen=True)
class LoadConfig(ServerOptions, LoadOptions, Settings):
    """Asks a served model from several clients at once, an image a request.

    Each image is first asked for alone; under load its answer must be the same.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.requests < max(self.clients):
            raise SettingError.of(
                "requests",
                f"must be at least {max(self.clients)}, one for each of `clients`",
                self.requests,
            )


@dataclasses.dataclass(frozen=True)
class PipelineConfig(Settings):
    """Times the input pipeline with each augmentation, in turns.

    On noise that is in memory, decoded; nothing is trained. Ratios are of processor
    time, which other work on the machine changes little, to that of --augment alone.
    """

    image_size: Annotated[int, SIDE] = 32
    """Side of the images."""

    augment: AugmentationName = "crop-flip"

    batch_size: Annotated[int, EVEN] = 64
    """Images of a batch."""

    steps: Annotated[int, POSITIVE] = 20
    """Batches of each pipeline in a round."""

    rounds: Annotated[int, POSITIVE] = 5
    """Times that each pipeline runs; medians are reported."""

    output: CsvFile = None
    """A .csv file to write the table to as well."""


@dataclasses.dataclass(frozen=True)
class ScalingConfig(Settings):
    """Runs train.py as one process and as several on loopback, in turns.

    Each process has one core and one thread, so that a core stands for a machine.
    """

    model: Annotated[str, NETWORK] = "ScaleNetCifar38"
    """A network or an architecture's file, as in train.py."""

    workers: Annotated[int, POSITIVE] = 2
    """Processes of the larger run; at most as many as there are cores."""

    batch_size: Annotated[int, POSITIVE] = 32
    """Examples of a step and a worker."""

    steps: Annotated[int, POSITIVE] = 20
    """Steps of a run; the first is not timed."""

    rounds: Annotated[int, POSITIVE] = 3
    """Pairs of runs; the median of their ratios is reported."""
