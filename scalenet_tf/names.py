"""The names of a network's layers, and what each of these layers is.

A model that was saved and loaded is known by the names of its layers alone. The model
factory takes them from here; folding, weights and feature pyramids find them here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

STEM_POOL = "stem_pool"
POOLED = "avg_pool"
HEAD = "logits"
PYTORCH_HEAD = "fc"

_OF_A_BOTTLENECK = re.compile(r"stage(\d+)_block(\d+)_\w+")


@dataclasses.dataclass(frozen=True)
class ConvNorm:
    """A convolution and the batch norm after it.

    Attributes:
        conv: Name of the convolution.
        norm: Name of the batch norm.
        pytorch_conv: Module of the convolution in the authors' code.
        pytorch_norm: Module of the batch norm in the authors' code.
    """

    conv: str
    norm: str
    pytorch_conv: str
    pytorch_norm: str


STEM = ConvNorm("stem_conv", "stem_bn", "conv1", "bn1")


@dataclasses.dataclass(frozen=True)
class BottleneckNames:
    """The names of the layers of a bottleneck; stage and index count from 1."""

    stage: int
    index: int

    @property
    def prefix(self) -> str:
        """The name of the bottleneck, with which those of its layers begin."""
        return f"stage{self.stage}_block{self.index}"

    def layer(self, role: str) -> str:
        """The name of the layer that has a role in the bottleneck."""
        return f"{self.prefix}_{role}"

    @property
    def sa(self) -> str:
        """The SA block."""
        return self.layer("sa")

    @property
    def out(self) -> str:
        """The last layer, whose output is the bottleneck's."""
        return self.layer("out")

    @property
    def reduction(self) -> ConvNorm:
        """The first 1x1 convolution, to the bottleneck's width."""
        return self._pair("conv1", "bn1", "conv1", "bn1")

    @property
    def expansion(self) -> ConvNorm:
        """The last 1x1 convolution, to four times the width."""
        return self._pair("conv3", "bn3", "conv3", "bn3")

    @property
    def shortcut(self) -> ConvNorm:
        """The 1x1 convolution beside both, in the first block of a stage."""
        return self._pair(
            "shortcut_conv", "shortcut_bn", "downsample.0", "downsample.1"
        )

    @property
    def pytorch_module(self) -> str:
        """Module of the whole bottleneck in the authors' code."""
        return f"layer{self.stage}.{self.index - 1}"

    def _pair(
        self, conv: str, norm: str, pytorch_conv: str, pytorch_norm: str
    ) -> ConvNorm:
        return ConvNorm(
            self.layer(conv),
            self.layer(norm),
            f"{self.pytorch_module}.{pytorch_conv}",
            f"{self.pytorch_module}.{pytorch_norm}",
        )


def bottlenecks(layer_names: Iterable[str]) -> list[BottleneckNames]:
    """The bottlenecks that layers of a model belong to, in the order of the layers."""
    matches = map(_OF_A_BOTTLENECK.fullmatch, layer_names)
    found = (BottleneckNames(int(m[1]), int(m[2])) for m in matches if m)
    return list(dict.fromkeys(found))


def conv_norms(layer_names: Iterable[str]) -> list[ConvNorm]:
    """The convolutions with a batch norm, of which a model may have one or both."""
    pairs = [STEM]
    for block in bottlenecks(layer_names):
        pairs += [block.reduction, block.expansion, block.shortcut]
    return pairs


def pytorch_modules(layer_names: Iterable[str]) -> dict[str, str]:
    """Layer -> module in the authors' code; an SA block's is the bottleneck's."""
    names = list(layer_names)
    modules = {HEAD: PYTORCH_HEAD}
    for pair in conv_norms(names):
        modules |= {pair.conv: pair.pytorch_conv, pair.norm: pair.pytorch_norm}
    return modules | {block.sa: block.pytorch_module for block in bottlenecks(names)}
