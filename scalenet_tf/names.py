"""The names of a network's layers, and what each of these layers is.

A model that was saved and loaded is known by the names of its layers alone. The model
factory takes them from here; folding, weights and feature pyramids find them here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

STEM_POOL = "stem_pool"
POOLED = "avg_pool"
HEAD = "logits"
PYTORCH_HEAD = "fc"


class ConvNorm(NamedTuple):
    """A convolution, the batch norm after it, and their modules in PyTorch."""

    conv: str
    norm: str
    pytorch_conv: str
    pytorch_norm: str


STEM = ConvNorm("stem_conv", "stem_bn", "conv1", "bn1")
STEM_PAD = "stem_conv_pad"
# The layer that takes the images: the first of these that there is.
STEM_ENTRANCES = (STEM_PAD, STEM.conv)
_BOTTLENECK_PAIRS = {
    "reduction": ConvNorm("conv1", "bn1", "conv1", "bn1"),
    "expansion": ConvNorm("conv3", "bn3", "conv3", "bn3"),
    "shortcut": ConvNorm(
        "shortcut_conv", "shortcut_bn", "downsample.0", "downsample.1"
    ),
}


class BottleneckNames(NamedTuple):
    """The names of the layers of a bottleneck; stage and block count from 1."""

    stage: int
    block: int

    @property
    def prefix(self) -> str:
        """The name of the bottleneck, with which those of its layers begin."""
        return f"stage{self.stage}_block{self.block}"

    @property
    def pytorch_module(self) -> str:
        """The module of the bottleneck in the authors' code."""
        return f"layer{self.stage}.{self.block - 1}"

    def layer(self, role: str) -> str:
        """The name of a layer: `"sa"` is the SA block, `"out"` gives the output."""
        return f"{self.prefix}_{role}"

    def conv_norm(self, role: str) -> ConvNorm:
        """The 1x1 convolution and batch norm of a role.

        Args:
            role: `"reduction"` to the width, `"expansion"` to four times the width,
                or `"shortcut"`, which first blocks of a stage have.
        """
        conv, norm, *modules = _BOTTLENECK_PAIRS[role]
        pytorch_names = (f"{self.pytorch_module}.{module}" for module in modules)
        return ConvNorm(self.layer(conv), self.layer(norm), *pytorch_names)


def bottlenecks(layer_names: Iterable[str]) -> list[BottleneckNames]:
    """The bottlenecks that layers of a model belong to, in the order of the layers."""
    matches = (re.fullmatch(r"stage(\d+)_block(\d+)_\w+", name) for name in layer_names)
    found = (BottleneckNames(int(m[1]), int(m[2])) for m in matches if m)
    return list(dict.fromkeys(found))


def find_network(model: Any) -> Any | None:
    """The network with these names: a model itself, or the first one inside it."""
    layers = getattr(model, "layers", ())
    if bottlenecks(layer.name for layer in layers):
        return model
    return next(filter(None, map(find_network, layers)), None)


def where_inside(model: Any) -> str:
    """What to say of a model with a network inside it, for the end of an error."""
    path, network = "model", find_network(model)
    while network is not None and model is not network:
        model = next(la for la in model.layers if find_network(la) is network)
        path += f".get_layer({model.name!r})"
    return f" Pass the network inside it: {path}." if path != "model" else ""


def conv_norms(layer_names: Iterable[str]) -> list[ConvNorm]:
    """The pairs of the stem and of these bottlenecks; a model may lack some layers."""
    blocks = bottlenecks(layer_names)
    return [STEM, *(b.conv_norm(role) for b in blocks for role in _BOTTLENECK_PAIRS)]


def pytorch_modules(layer_names: Iterable[str]) -> dict[str, str]:
    """Layer -> module in the authors' code; an SA block's is the bottleneck's."""
    names = list(layer_names)
    modules = {HEAD: PYTORCH_HEAD}
    for conv, norm, pytorch_conv, pytorch_norm in conv_norms(names):
        modules |= {conv: pytorch_conv, norm: pytorch_norm}
    return modules | {b.layer("sa"): b.pytorch_module for b in bottlenecks(names)}
