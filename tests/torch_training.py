"""SGD with momentum on ScaleNet's second writing, by PyTorch in float64.

Arguments: an architecture's JSON file; a .npz file with the weights by the authors'
names (`weight/NAME`), `images` (steps, batch, h, w, 3), `labels` (steps, batch),
`rate` and `momentum`; the .npz file to write: `losses`, and the weights and running
statistics afterwards.
"""

import json
import pathlib
import sys
import types

import numpy as np
import torch
from reference import PyTorchScaleNet


class Training(PyTorchScaleNet):
    """The network with batch norms that use, and move, the statistics of a batch."""

    def norm(self, x, name):
        keys = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (self.tensors[f"{name}.{key}"] for key in keys)
        return torch.nn.functional.batch_norm(
            x, mean, var, weight, bias, training=True, momentum=0.1, eps=1e-5
        )


def main():
    record = json.loads(pathlib.Path(sys.argv[1]).read_text())
    architecture = types.SimpleNamespace(**record)
    data = np.load(sys.argv[2])
    tensors = {
        key.removeprefix("weight/"): torch.from_numpy(data[key].astype(np.float64))
        for key in data
        if key.startswith("weight/")
    }
    weights = [t for name, t in tensors.items() if "running_" not in name]
    for tensor in weights:
        tensor.requires_grad_()
    rate, momentum = float(data["rate"]), float(data["momentum"])
    optimizer = torch.optim.SGD(weights, rate, momentum)
    network, losses = Training(architecture, tensors), []
    for images, labels in zip(data["images"], data["labels"], strict=True):
        logits = network(torch.from_numpy(images).permute(0, 3, 1, 2))
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    after = {f"weight/{name}": t.detach().numpy() for name, t in tensors.items()}
    np.savez(sys.argv[3], losses=losses, **after)


if __name__ == "__main__":
    main()
