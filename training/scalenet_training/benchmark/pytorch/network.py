"""ScaleNet and its twins as PyTorch modules, to compare speeds with.

They compute what the Keras networks do. The modules that tests compare with are another
writing, of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_EXPANSION = 4


class Normalized(nn.Module):
    """A convolution and its batch norm."""

    def __init__(self, inputs: int, outputs: int, side: int = 1, stride: int = 1):
        super().__init__()
        self.convolution = nn.Conv2d(
            inputs, outputs, side, stride, padding=side // 2, bias=False
        )
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Convolves and normalises."""
        return self.norm(self.convolution(x))


class Branch(nn.Module):
    """One scale of an SA block: pooled, convolved, upsampled, normalised."""

    def __init__(self, inputs: int, neurons: int, side: int, scale: int):
        super().__init__()
        self.scale = scale
        self.convolution = nn.Conv2d(
            inputs, neurons, side, padding=side // 2, bias=False
        )
        self.norm = nn.BatchNorm2d(neurons)

    def forward(self, x: Tensor) -> Tensor:
        """Gives the neurons of this scale, of the size of the input."""
        size = x.shape[2:]
        if self.scale > 1:
            x = functional.max_pool2d(x, [min(self.scale, side) for side in size])
        x = self.convolution(x)
        if x.shape[2:] != size:
            whole = all(
                big % small == 0 for big, small in zip(size, x.shape[2:], strict=True)
            )
            mode = "nearest" if whole else "bilinear"
            x = functional.interpolate(x, size, mode=mode)
        return self.norm(x)


class Bottleneck(nn.Module):
    """A residual block whose 3x3 convolution is an SA block."""

    def __init__(self, inputs: int, block: Mapping[str, Any], scales: Sequence[int]):
        super().__init__()
        width, outputs = block["width"], _EXPANSION * block["width"]
        kinds = zip(block["channels"], block["kernel_sizes"], scales, strict=True)
        self.pooled = block["stride"] > 1
        self.first = Normalized(inputs, width)
        self.branches = nn.ModuleList(
            Branch(width, neurons, side, scale)
            for neurons, side, scale in kinds
            if neurons
        )
        self.last = Normalized(sum(block["channels"]), outputs)
        first = block["index"] == 1  # of its stage
        self.shortcut = Normalized(inputs, outputs) if first else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Gives the block's output, of half the size where it pools."""
        if self.pooled:
            x = functional.max_pool2d(x, 2)
        y = functional.relu(self.first(x))
        branches = [branch(y) for branch in self.branches]
        y = branches[0] if len(branches) == 1 else torch.cat(branches, 1)
        return functional.relu(self.last(functional.relu(y)) + self.shortcut(x))


class ScaleNet(nn.Module):
    """The network of a description that `peer.description` made.

    `(batch, 3, height, width)` to logits.
    """

    def __init__(self, network: Mapping[str, Any], classes: int):
        super().__init__()
        side, channels = network["stem_convolution"]
        self.imagenet = network["stem"] == "imagenet"
        self.stem = Normalized(3, channels, side, stride=2 if self.imagenet else 1)
        self.blocks = nn.Sequential()
        for block in network["blocks"]:
            self.blocks.append(Bottleneck(channels, block, network["scales"]))
            channels = _EXPANSION * block["width"]
        self.top = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Gives the logits."""
        x = functional.relu(self.stem(x))
        if self.imagenet:
            x = functional.max_pool2d(x, 3, 2, padding=1)
        return self.top(self.blocks(x).mean((2, 3)))


def draw_statistics(network: nn.Module) -> None:
    """Gives the batch norms weights and statistics that keep numbers of usual size."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    for name, statistics in network.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(statistics, std=0.1)
        elif name.endswith("running_var"):
            nn.init.uniform_(statistics, 0.5, 1.5)
