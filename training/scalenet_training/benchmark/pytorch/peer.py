"""A network that runs in PyTorch, in a process of its own. Imports no PyTorch."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from scalenet_tf.architectures import STEM_CONVS, Architecture
from scalenet_training.errors import RunError, UsageError

_PROGRAM = "scalenet_training.benchmark.pytorch.serve"


@dataclasses.dataclass(frozen=True)
class Peer:
    """What runs in PyTorch.

    Attributes:
        network: Its stem, scales and blocks.
        classes: Classes of the last layer.
        image_size: Side of the images.
        batch_size: Images of a batch.
        work: `inference` or `step`.
        mixed_precision: `off` or `bfloat16`, by autocast.
    """

    network: dict[str, Any]
    classes: int
    image_size: int
    batch_size: int
    work: str
    mixed_precision: str


class RunningPeer:
    """The process of a peer, which waits between two runs.

    Attributes:
        first_seconds: What building and the first run took.
        peak_mebibytes: Most memory of the process, as of the last run.
    """

    def __init__(self, process: subprocess.Popen[str], name: str):
        self._process, self._name = process, name
        self.peak_mebibytes = 0.0
        self.first_seconds = self._answer("ready")

    def run(self) -> None:
        """Runs once; returns when it is done."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the answer says why
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        self.peak_mebibytes = self._answer("done")

    def _answer(self, word: str) -> float:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().split()
        if answer[:1] != [word]:
            _, said = self._process.communicate()
            raise RunError(f"PyTorch's process for {self._name} failed:\n{said}")
        return float(answer[1])


def description(architecture: Architecture) -> dict[str, Any]:
    """What PyTorch's process has to know of an architecture."""
    return {
        "stem": architecture.stem,
        "stem_convolution": STEM_CONVS[architecture.stem],
        "scales": architecture.scales,
        "blocks": [dataclasses.asdict(block) for block in architecture.blocks()],
    }


def check_pytorch() -> None:
    """Checks that PyTorch is there.

    Raises:
        UsageError: It is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise UsageError(
            "`pytorch` needs the package torch: pip install 'scalenet_tf[convert]'."
        )


@contextlib.contextmanager
def running(peer: Peer, name: str) -> Iterator[RunningPeer]:
    """Starts the process of a peer, and ends it."""
    places = os.pathsep.join(place for place in sys.path if place)
    with subprocess.Popen(
        [sys.executable, "-m", _PROGRAM, json.dumps(dataclasses.asdict(peer))],
        env={**os.environ, "PYTHONPATH": places},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield RunningPeer(process, name)
        finally:
            process.kill()
