"""What a ScaleNet is made of, as data: the published networks and their twins.

An `Architecture` says how many neurons each block has at each scale. This module
knows nothing of TensorFlow; `scalenet_tf.models` turns an architecture into a
Keras model.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import functools
import importlib.resources
import json
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, get_args

from scalenet_tf.files import read_json
from scalenet_tf.names import BottleneckNames

Stem = Literal["imagenet", "cifar"]

DEFAULT_CLASSES: Mapping[str, int] = MappingProxyType({"imagenet": 1000, "cifar": 100})

# Side of the kernel and filters of the stem's convolution.
STEM_CONVS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"imagenet": (7, 64), "cifar": (3, 16)}
)

# Bounds of what is built, far above the published networks (61 million parameters, 50
# blocks, 4 scales), whose widest variants in a search have 280 million: a file must not
# decide how much memory goes.
MAX_SIDE = 4096  # pixels
MAX_PARAMETERS = 2**29  # 2 GiB in float32
MAX_MAP = 2**28  # numbers in a feature map of one image
MAX_BLOCKS = 1000
MAX_SCALES = 16


@dataclasses.dataclass(frozen=True)
class Block:
    """One bottleneck of an architecture, with all that is needed to build it.

    Attributes:
        stage: Stage, counted from 1.
        index: Position in the stage, counted from 1.
        width: Filters of the first 1x1 convolution; the last one has 4 x width.
        stride: 2 where a 2x2/2 max-pool comes first, else 1.
        side: Side of the feature maps in pixels, at the network's native size.
        channels: Neurons of the SA block by scale.
        kernel_sizes: Kernel of the SA block by scale, 3 or 1.
    """

    stage: int
    index: int
    width: int
    stride: int
    side: int
    channels: Sequence[int]
    kernel_sizes: tuple[int, ...]

    @property
    def name(self) -> str:
        """The name of the bottleneck, with which those of its layers begin."""
        return self.names.prefix

    @property
    def names(self) -> BottleneckNames:
        """The names of its layers."""
        return BottleneckNames(self.stage, self.index)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """The neuron allocation of a network: what the paper's method learns.

    Lists are accepted and kept as tuples. An architecture that exists is valid.

    Attributes:
        name: Name of the network, and, in lower case, of its Keras model.
        stem: `"imagenet"` (7x7/2 convolution, 3x3/2 max-pool) or `"cifar"` (3x3).
        native_size: Side of the input in pixels for which the network is meant. It
            fixes which convolutions are 1x1, for every input size.
        scales: Downsampling factors of the SA blocks, ascending, such as (1, 2, 4, 7).
        stage_widths: Bottleneck width by stage.
        blocks_per_stage: Number of bottlenecks by stage.
        budget_per_stage: SA neurons of a block, summed over its scales, by stage;
            `None` where blocks of a stage may differ.
        allocation: Neurons by scale, one row per block, first stage first.
        learned_on: Dataset on which the allocation was learned, for information.

    Raises:
        ValueError: Where the numbers do not make a network, or make one beyond
            `MAX_PARAMETERS` and the other bounds of this module; the message names the
            field, what came and what is allowed.

    Source: Li et al., CVPR 2019, sections 3.1-3.3 and supplementary table 1.
    """

    name: str
    stem: Stem
    native_size: int
    scales: Sequence[int]
    stage_widths: Sequence[int]
    blocks_per_stage: Sequence[int]
    budget_per_stage: Sequence[int] | None
    allocation: Sequence[Sequence[int]]
    learned_on: str | None = None

    def __post_init__(self) -> None:
        _check_header(self)
        for field in ("scales", "stage_widths", "blocks_per_stage", "budget_per_stage"):
            object.__setattr__(self, field, _positive_ints(self, field))
        _check_stages(self)
        object.__setattr__(self, "allocation", _checked_allocation(self))
        _check_amount(self)

    @property
    def default_classes(self) -> int:
        """Classes of the dataset the stem is named after: 1000 or 100."""
        return DEFAULT_CLASSES[self.stem]

    @property
    def minimum_size(self) -> int:
        """Smallest side of an input, in pixels, that leaves one for the last stage."""
        return minimum_size(self.stem, len(self.stage_widths))

    def stage_sides(self, size: int) -> tuple[int, ...]:
        """Side of the feature maps by stage, for a square input of side `size`."""
        side = -(-size // 4) if self.stem == "imagenet" else size
        return tuple(side // 2**stage for stage in range(len(self.stage_widths)))

    def blocks(self) -> Iterator[Block]:
        """Yields the bottlenecks in order."""
        rows = iter(self.allocation)
        sides = self.stage_sides(self.native_size)
        for stage, (width, count) in enumerate(
            zip(self.stage_widths, self.blocks_per_stage, strict=True)
        ):
            kernel_sizes = tuple(
                1 if sides[stage] / 2**index <= 1 else 3
                for index in range(len(self.scales))
            )
            for block in range(count):
                yield Block(
                    stage=stage + 1,
                    index=block + 1,
                    width=width,
                    stride=2 if stage > 0 and block == 0 else 1,
                    side=sides[stage],
                    channels=next(rows),
                    kernel_sizes=kernel_sizes,
                )

    def neuron_macs(self) -> tuple[tuple[int, ...], ...]:
        """MACs that one neuron of an SA block adds, by block and scale.

        They are those of its kernel on the pooled map and those of its weights in the
        1x1 convolution that follows the SA block, for an image of the native size.
        """
        return tuple(
            tuple(
                block.width
                * (kernel**2 * max(block.side // scale, 1) ** 2 + 4 * block.side**2)
                for scale, kernel in zip(self.scales, block.kernel_sizes, strict=True)
            )
            for block in self.blocks()
        )

    def macs(self, classes: int | None = None) -> int:
        """Multiply-accumulates of one image of the native size.

        Equals `count_macs` of the Keras model, without building it.

        Args:
            classes: Classes of the dense layer, 0 for none. Default:
                `default_classes`.
        """
        kernel, channels = STEM_CONVS[self.stem]
        side = self.native_size
        conv_side = -(-side // 2) if self.stem == "imagenet" else side
        total = conv_side**2 * kernel**2 * 3 * channels
        for block, costs in zip(self.blocks(), self.neuron_macs(), strict=True):
            # The first 1x1 convolution, and the shortcut's in the first block.
            filters = block.width + (4 * block.width if block.index == 1 else 0)
            total += block.side**2 * channels * filters
            total += sum(map(operator.mul, block.channels, costs))
            channels = 4 * block.width
        return total + channels * (self.default_classes if classes is None else classes)

    def parameters(self, classes: int | None = None) -> int:
        """Trainable parameters; equals `count_parameters` of the Keras model.

        Args:
            classes: Classes of the dense layer, 0 for none. Default:
                `default_classes`.
        """
        kernel, channels = STEM_CONVS[self.stem]
        total = channels * (kernel**2 * 3 + 2)  # 2: scale and offset of a batch norm
        for block in self.blocks():
            shortcut = 4 if block.index == 1 else 0
            total += block.width * (1 + shortcut) * (channels + 2)
            # An SA neuron: its kernel, batch norm and weights in the expansion.
            for neurons, side in zip(block.channels, block.kernel_sizes, strict=True):
                total += neurons * (side**2 * block.width + 2 + 4 * block.width)
            channels = 4 * block.width
            total += 2 * channels
        classes = self.default_classes if classes is None else classes
        return total + (channels + 1) * classes

    def twin(self) -> Architecture:
        """The ResNet twin: `width` neurons in every block, all at scale 1."""
        name = self.name.replace("ScaleNet", "ResNet").removesuffix("Light")
        return dataclasses.replace(
            self,
            name=name if name != self.name else f"{self.name}Twin",
            scales=(1,),
            budget_per_stage=self.stage_widths,
            allocation=tuple((block.width,) for block in self.blocks()),
            learned_on=None,
        )

    def to_record(self) -> dict[str, Any]:
        """The architecture as a JSON record, the format of `load_architecture`."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


def minimum_size(stem: Stem, stages: int) -> int:
    """Smallest side of an input, in pixels, that leaves one for the last stage."""
    last_stage_stride = 2 ** (stages - 1)
    # The stem halves twice, rounding up; the stages halve rounding down.
    return 4 * last_stage_stride - 3 if stem == "imagenet" else last_stage_stride


def architecture_from_record(record: Mapping[str, Any]) -> Architecture:
    """Makes an architecture of a JSON record; keys it does not know are ignored.

    Raises:
        ValueError: Where a key is missing or a value is not allowed.
    """
    fields = {field.name: field for field in dataclasses.fields(Architecture)}
    missing = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and name not in record
    ]
    if missing:
        raise ValueError(
            f"an architecture record needs the keys {', '.join(missing)}. "
            f"Received the keys: {', '.join(map(str, record)) or 'none'}."
        )
    return Architecture(**{name: record[name] for name in fields if name in record})


def load_architecture(
    path: str | os.PathLike[str], name: str | None = None
) -> Architecture:
    """Reads an architecture from a JSON file: one record, or a list and a name.

    Args:
        path: The file.
        name: Which record to take, in any case; needed where there are several.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not JSON, or holds no (such) valid architecture; the
            message names the file.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no architecture file at {path!r}.")
    try:
        records = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file ({error}).") from error
    records = records if isinstance(records, list) else [records]
    if not records or not all(isinstance(record, dict) for record in records):
        raise ValueError(
            f"{path}: expected one architecture record (a JSON object) or a list of "
            "them."
        )
    record = _pick_record(records, name, path)
    try:
        return architecture_from_record(record)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def list_models(pattern: str = "*") -> list[str]:
    """Public names of the networks that match a shell pattern, in any case.

    Example: `list_models("*cifar*")`.
    """
    return [
        name
        for name in published_architectures()
        if fnmatch.fnmatchcase(name.lower(), pattern.lower())
    ]


def public_name(architecture: Architecture) -> str:
    """The name in `list_models` of a published network or twin; else empty."""
    published = published_architectures()
    return architecture.name if architecture in published.values() else ""


def get_architecture(name: str) -> Architecture:
    """The published architecture, or ResNet twin, of that public name, in any case.

    Raises:
        ValueError: There is none; the message suggests the nearest names.
    """
    if not isinstance(name, str):
        raise ValueError(f"the name of a model must be a string. Received: {name!r}.")
    names = {public.lower(): public for public in published_architectures()}
    try:
        return published_architectures()[names[name.lower()]]
    except KeyError:
        near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
        hint = (
            f" Did you mean {' or '.join(names[key] for key in near)}?" if near else ""
        )
        raise ValueError(
            f"unknown model {name!r}.{hint} Available: {', '.join(names.values())}."
        ) from None


@functools.cache
def published_architectures() -> Mapping[str, Architecture]:
    """The seven published networks and their six ResNet twins, by public name."""
    text = importlib.resources.files("scalenet_tf").joinpath("data/architectures.json")
    networks = [
        architecture_from_record(record)
        for record in json.loads(text.read_text(encoding="utf-8"))
    ]
    twins = [network.twin() for network in networks]
    return MappingProxyType({item.name: item for item in [*networks, *twins]})


def _check_header(architecture: Architecture) -> None:
    if not isinstance(architecture.name, str) or not architecture.name.isidentifier():
        raise ValueError(
            "`name` must be letters, digits and underscores, not starting with a "
            f"digit. Received: {architecture.name!r}."
        )
    if architecture.stem not in get_args(Stem):
        raise ValueError(
            f"`stem` must be one of {get_args(Stem)}. Received: {architecture.stem!r}."
        )
    size = architecture.native_size
    if not _is_int(size) or not 1 <= size <= MAX_SIDE:
        raise ValueError(
            f"`native_size` must be a positive number of pixels, at most {MAX_SIDE}. "
            f"Received: {size!r}."
        )
    learned_on = architecture.learned_on
    if learned_on is not None and not isinstance(learned_on, str):
        raise ValueError(
            f"`learned_on` must be a name or None. Received: {learned_on!r}."
        )


def _check_stages(architecture: Architecture) -> None:
    lengths = {
        field: len(getattr(architecture, field))
        for field in ("stage_widths", "blocks_per_stage", "budget_per_stage")
        if getattr(architecture, field) is not None
    }
    if len(set(lengths.values())) != 1:
        raise ValueError(
            "`stage_widths`, `blocks_per_stage` and `budget_per_stage` must have one "
            f"entry per stage. Received lengths: {lengths}."
        )
    if list(architecture.scales) != sorted(set(architecture.scales)):
        raise ValueError(
            "`scales` must ascend without repetition. "
            f"Received: {list(architecture.scales)}."
        )
    if len(architecture.scales) > MAX_SCALES or architecture.scales[-1] > MAX_SIDE:
        raise ValueError(
            f"`scales` must be at most {MAX_SCALES} numbers of at most {MAX_SIDE}. "
            f"Received: {len(architecture.scales)} up to {architecture.scales[-1]}."
        )
    if sum(architecture.blocks_per_stage) > MAX_BLOCKS:
        raise ValueError(
            f"`blocks_per_stage` must add up to at most {MAX_BLOCKS} blocks. "
            f"Received: {list(architecture.blocks_per_stage)}."
        )
    if architecture.native_size < architecture.minimum_size:
        raise ValueError(
            f"`native_size` must be at least {architecture.minimum_size} for "
            f"{lengths['stage_widths']} stages with the {architecture.stem} stem. "
            f"Received: {architecture.native_size}."
        )


def _checked_allocation(architecture: Architecture) -> tuple[tuple[int, ...], ...]:
    rows = architecture.allocation
    scales = architecture.scales
    blocks = architecture.blocks_per_stage
    if not _is_list(rows) or len(rows) != sum(blocks):
        raise ValueError(
            f"`allocation` must have {sum(blocks)} rows, one a block, for "
            f"blocks_per_stage={list(blocks)}. Received: "
            f"{len(rows) if _is_list(rows) else rows!r}."
        )
    by_stage: Sequence[int | None]
    by_stage = architecture.budget_per_stage or [None] * len(blocks)
    budgets = [
        budget
        for budget, count in zip(by_stage, blocks, strict=True)
        for _ in range(count)
    ]
    for index, (row, budget) in enumerate(zip(rows, budgets, strict=True)):
        where = f"`allocation` row {index} (counted from 0)"
        if not _is_list(row) or len(row) != len(scales):
            raise ValueError(
                f"{where} must have {len(scales)} numbers, one a scale of "
                f"{list(scales)}. Received: {row!r}."
            )
        if not all(_is_int(count) and count >= 0 for count in row) or not any(row):
            raise ValueError(
                f"{where} must be whole numbers of neurons, none negative and not all "
                f"zero. Received: {list(row)}."
            )
        if budget is not None and sum(row) != budget:
            raise ValueError(
                f"{where} must add up to the budget of its stage, {budget}. "
                f"Received: {list(row)}, which adds up to {sum(row)}."
            )
    return tuple(tuple(row) for row in rows)


def _check_amount(architecture: Architecture) -> None:
    check_parameters(architecture, 0)
    sides = architecture.stage_sides(architecture.native_size)
    maps = [4 * w * n**2 for w, n in zip(architecture.stage_widths, sides, strict=True)]
    if max(maps) > MAX_MAP:
        raise ValueError(
            f"`stage_widths` and `native_size` must make feature maps of at most "
            f"{MAX_MAP:,} numbers an image. Received: {max(maps):,} in stage "
            f"{maps.index(max(maps)) + 1}."
        )


def check_parameters(architecture: Architecture, classes: int) -> None:
    """Checks that a network can be built without gigabytes of weights.

    Raises:
        ValueError: It has more than `MAX_PARAMETERS` parameters.
    """
    parameters = architecture.parameters(classes)
    if parameters > MAX_PARAMETERS:
        fields = "`classes`" if classes else "`stage_widths` and `allocation`"
        raise ValueError(
            f"{fields} must make a network of at most {MAX_PARAMETERS:,} parameters. "
            f"Received: {parameters:,}" + (f" for {classes:,}." if classes else ".")
        )


def _positive_ints(architecture: Architecture, field: str) -> tuple[int, ...] | None:
    values = getattr(architecture, field)
    may_be_none = field == "budget_per_stage"
    if values is None and may_be_none:
        return None
    if (
        not _is_list(values)
        or not values
        or not all(_is_int(value) and value > 0 for value in values)
    ):
        or_none = " (or None)" if may_be_none else ""
        raise ValueError(
            f"`{field}` must be a list of positive whole numbers{or_none}. "
            f"Received: {values!r}."
        )
    return tuple(values)


def _pick_record(
    records: Sequence[Mapping[str, Any]], name: str | None, path: str
) -> Mapping[str, Any]:
    names = [str(record.get("name")) for record in records]
    if name is None:
        if len(records) == 1:
            return records[0]
        raise ValueError(
            f"{path}: holds {len(records)} architectures; `name` must be one of "
            f"{', '.join(names)}."
        )
    for record, candidate in zip(records, names, strict=True):
        if candidate.lower() == name.lower():
            return record
    raise ValueError(
        f"{path}: `name` must be one of {', '.join(names)}. Received: {name!r}."
    )


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple))
