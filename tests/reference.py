"""The reference's weight generator, and ScaleNet written a second time, in PyTorch.

The second writing follows the published description alone and shares no code with
the package, so that an error would have to be made twice.
"""

import json
import pathlib
import zlib

import numpy as np

DATA = pathlib.Path(__file__).parent / "data"


def scalenet50_shapes():
    shapes = json.loads((DATA / "scalenet50_state_dict.json").read_text())
    return {
        name: tuple(shape)
        for name, shape in shapes.items()
        if not name.endswith("num_batches_tracked")
    }


def generated_weights(shapes):
    """Weights that any framework can make anew, with BN statistics that matter."""
    return {
        name: _tensor(
            name, tuple(shape), np.random.default_rng(zlib.crc32(name.encode()))
        )
        for name, shape in shapes.items()
    }


def _tensor(name, shape, rng):
    if name.endswith("running_mean"):
        value = 0.1 * rng.standard_normal(shape)
    elif name.endswith("running_var"):
        value = rng.uniform(0.5, 1.5, shape)
    elif len(shape) == 4:
        value = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    elif name == "fc.weight":
        value = 0.05 * rng.standard_normal(shape)
    elif name.endswith(".bias"):
        value = 0.1 * rng.standard_normal(shape)
    elif ".bn3." in name:
        value = rng.uniform(0.05, 0.2, shape)
    else:
        value = rng.uniform(0.5, 1.5, shape)
    return value.astype(np.float32)


def pytorch_logits(architecture, weights, images):
    """Logits of an architecture, by PyTorch, for images (batch, h, w, 3)."""
    import torch

    tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    with torch.no_grad():
        x = torch.from_numpy(images).permute(0, 3, 1, 2)
        return PyTorchScaleNet(architecture, tensors)(x).numpy()


class PyTorchScaleNet:
    """ScaleNet at inference, of tensors by the authors' names."""

    def __init__(self, architecture, tensors):
        self.architecture = architecture
        self.tensors = tensors

    def __call__(self, x):
        import torch.nn.functional as nn

        arch = self.architecture
        if arch.stem == "imagenet":
            x = self.conv_norm(x, "conv1", "bn1", stride=2).relu()
            x = nn.max_pool2d(x, 3, 2, padding=1)
        else:
            x = self.conv_norm(x, "conv1", "bn1").relu()
        rows = iter(arch.allocation)
        for stage, count in enumerate(arch.blocks_per_stage):
            for block in range(count):
                if stage and not block:
                    x = nn.max_pool2d(x, 2)
                x = self.bottleneck(x, f"layer{stage + 1}.{block}", next(rows))
        return nn.linear(
            x.mean((2, 3)), self.tensors["fc.weight"], self.tensors["fc.bias"]
        )

    def conv_norm(self, x, conv, norm, stride=1):
        import torch.nn.functional as nn

        kernel = self.tensors[f"{conv}.weight"]
        x = nn.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        return self.norm(x, norm)

    def norm(self, x, name):
        import torch.nn.functional as nn

        keys = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (self.tensors[f"{name}.{key}"] for key in keys)
        return nn.batch_norm(x, mean, var, weight, bias, eps=1e-5)

    def bottleneck(self, x, name, row):
        shortcut = x
        if f"{name}.downsample.0.weight" in self.tensors:
            shortcut = self.conv_norm(x, f"{name}.downsample.0", f"{name}.downsample.1")
        x = self.conv_norm(x, f"{name}.conv1", f"{name}.bn1").relu()
        x = self.scale_aggregation(x, name, row).relu()
        return (self.conv_norm(x, f"{name}.conv3", f"{name}.bn3") + shortcut).relu()

    def scale_aggregation(self, x, name, row):
        import torch
        import torch.nn.functional as nn

        size = tuple(x.shape[2:])
        branches = []
        for index, (scale, count) in enumerate(
            zip(self.architecture.scales, row, strict=True)
        ):
            if not count:
                continue
            window = tuple(min(scale, side) for side in size)
            y = nn.max_pool2d(x, window) if scale > 1 else x
            kernel = self.tensors[f"{name}.conv2.{index}.weight"]
            y = nn.conv2d(y, kernel, padding=kernel.shape[-1] // 2)
            whole = all(
                big % small == 0 for big, small in zip(size, y.shape[2:], strict=False)
            )
            if whole:
                y = nn.interpolate(y, size, mode="nearest")
            else:
                y = nn.interpolate(y, size, mode="bilinear", align_corners=False)
            branches.append(self.norm(y, f"{name}.bn2.{index}"))
        return torch.cat(branches, 1)
