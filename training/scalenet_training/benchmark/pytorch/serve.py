"""The process of a PyTorch peer: a line on its input is one run of the network.

Its argument is the JSON of a `Peer`. It answers `ready`, with the seconds that building
and the first run took, then `done`, with its peak memory in MiB, after each run.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from scalenet_training.benchmark.pytorch.network import ScaleNet, draw_statistics
from scalenet_training.devices.memory import peak_mebibytes


def main() -> None:
    """Serves until its input ends."""
    asked = json.loads(sys.argv[1])
    began = time.perf_counter()
    run = make_run(asked)
    run()
    print("ready", time.perf_counter() - began, flush=True)
    for _ in sys.stdin:
        run()
        print("done", peak_mebibytes(), flush=True)


def make_run(asked: dict[str, Any]) -> Callable[[], Any]:
    """One batch of inference, or one step of training, on noise."""
    torch.manual_seed(0)
    network = ScaleNet(asked["network"], asked["classes"])
    draw_statistics(network)
    # Convolutions on the CPU are written for this order of dimensions.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    size = asked["image_size"]
    images = torch.randn(asked["batch_size"], 3, size, size)
    images = images.contiguous(memory_format=torch.channels_last)

    def precision() -> contextlib.AbstractContextManager[Any]:
        if asked["mixed_precision"] == "off":
            return contextlib.nullcontext()
        return torch.autocast("cpu", torch.bfloat16)

    if asked["work"] == "inference":
        network.eval()

        def infer() -> torch.Tensor:
            with torch.inference_mode(), precision():
                return network(images)

        return infer

    optimizer = torch.optim.SGD(
        network.parameters(), 0.01, momentum=0.9, weight_decay=1e-4
    )
    labels = torch.randint(asked["classes"], (asked["batch_size"],))

    def step() -> float:
        optimizer.zero_grad()
        with precision():
            logits = network(images)
        loss = functional.cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


if __name__ == "__main__":
    main()
