"""What a branch of an SA block takes in a runtime on this machine, as it is measured.

Networks of the architecture's shape differ in one branch of all blocks of one stage;
their other blocks have one neuron at the finest scale. What they take more than the
network with nothing else is the branch, where it will be: folded, fused, between the
same neighbours.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

import scalenet_tf
from scalenet_tf import Architecture
from scalenet_tf.allocation import CostTable
from scalenet_tf.export import Exportable, open_exported
from scalenet_tf.export.formats import get_format
from scalenet_tf.preprocessing import EvaluationTransform
from scalenet_training.allocate.config import LatencyOptions
from scalenet_training.bars import Bar
from scalenet_training.devices.processor import onednn_state, processor_name
from scalenet_training.devices.timing import interleaved
from scalenet_training.networks.random_statistics import draw_statistics
from scalenet_training.runs.versions import versions

Run = Callable[[], Any]

# The one ratio that decides whether a target is met: more rounds than a branch, many of
# which are summed.
_WHOLE = 3
_SECONDS = 1.0  # that a branch and what it is compared with are measured at least


class Runtime:
    """Times networks of one shape in the runtime of an export format.

    Args:
        architecture: Gives the shape.
        options: The runtime, the size of a batch, threads, rounds.
        classes: Classes of the last layer.
    """

    def __init__(
        self, architecture: Architecture, options: LatencyOptions, classes: int
    ):
        self.architecture = architecture
        self.options = options
        self.classes = classes
        size = architecture.native_size
        shape = (options.latency_batch_size, size, size, 3)
        noise = np.random.default_rng(0).standard_normal(shape)
        self._images = noise.astype(np.float32)

    def about(self) -> dict[str, Any]:
        """What the times depend on, and when they were taken."""
        return {
            **self.identity(),
            "rounds": self.options.latency_rounds,
            "versions": versions(),
            "date": datetime.date.today().isoformat(),
        }

    def identity(self) -> dict[str, Any]:
        """What must be equal for times to be comparable."""
        shape = self.architecture
        kernels = {"onednn": onednn_state(os.environ)}
        return {
            "runtime": self.options.runtime,
            "batch_size": self.options.latency_batch_size,
            "threads": self.options.threads,
            "machine": f"{processor_name()}, {os.cpu_count()} cores",
            "stem": shape.stem,
            "native_size": shape.native_size,
            "scales": list(shape.scales),
            "stage_widths": list(shape.stage_widths),
            "blocks_per_stage": list(shape.blocks_per_stage),
            "classes": self.classes,
            **(kernels if self.options.runtime == "savedmodel" else {}),
        }

    @contextlib.contextmanager
    def opened(self, architecture: Architecture) -> Iterator[Run]:
        """A network with random weights, as a function that runs a batch."""
        keras.utils.set_random_seed(0)
        size = architecture.native_size
        model = scalenet_tf.ScaleNet(
            architecture, input_shape=(size, size, 3), classes=self.classes
        )
        draw_statistics(model)
        entry = get_format(self.options.runtime)
        names = [str(index) for index in range(self.classes)]
        content = Exportable(model, EvaluationTransform(size, size), names)
        with tempfile.TemporaryDirectory() as folder:
            place = os.path.join(folder, "1")
            path = entry.write(content, place, "network", entry.options({}))
            exported = open_exported(path, self.options.threads)
            yield lambda: exported.run(self._images)

    def variant(self, stage: int, row: Sequence[int]) -> Architecture:
        """The network whose blocks of a stage (counted from 1) have these neurons."""
        least = [1] + [0] * (len(self.architecture.scales) - 1)
        rows = [
            list(row) if block.stage == stage else least
            for block in self.architecture.blocks()
        ]
        return dataclasses.replace(
            self.architecture, name="Measured", budget_per_stage=None, allocation=rows
        )

    def difference(self, run: Run, base: Run) -> float:
        """Milliseconds that a run takes more than another: the median of pairs."""
        times = self._times({"base": base, "run": run})
        pairs = zip(times["run"], times["base"], strict=True)
        return 1e3 * statistics.median(own - other for own, other in pairs)

    def milliseconds(self, run: Run) -> float:
        """Median time of a run."""
        times = self._times({"run": run})
        return 1e3 * statistics.median(times["run"])

    def ratio(self, architecture: Architecture, other: Architecture) -> float:
        """Time of a network over that of another: the median of pairs."""
        with self.opened(architecture) as run, self.opened(other) as base:
            times = self._times({"base": base, "run": run}, _WHOLE)
        pairs = zip(times["run"], times["base"], strict=True)
        return statistics.median(own / other for own, other in pairs)

    def _times(self, runs: Mapping[str, Run], often: int = 1) -> dict[str, list[float]]:
        rounds = often * self.options.latency_rounds
        return interleaved(runs, rounds, seconds=often * _SECONDS)


def measure_costs(runtime: Runtime) -> CostTable:
    """Measures what the branches of an architecture take."""
    shape = runtime.architecture
    base_network = runtime.variant(0, [])
    with runtime.opened(base_network) as base:
        least = runtime.milliseconds(base)
        with runtime.opened(shape.twin()) as run:
            twin = least + runtime.difference(run, base)
        stages = list(zip(shape.stage_widths, shape.blocks_per_stage, strict=True))
        # a scale of a stage: three samples; a stage: what the least branch takes
        bar = Bar(total=len(stages) * (3 * len(shape.scales) + 1), unit=" networks")
        with bar:
            measured = [
                _Stage(runtime, base, stage, width, count, bar).measure()
                for stage, (width, count) in enumerate(stages, start=1)
            ]
    costs = CostTable(0.0, measured, twin, runtime.about())
    return dataclasses.replace(costs, fixed=least - costs.milliseconds(base_network))


@dataclasses.dataclass
class _Stage:
    """The measurement of one stage."""

    runtime: Runtime
    base: Run
    number: int
    width: int
    blocks: int
    bar: Bar

    def measure(self) -> list[list[tuple[int, float]]]:
        """(neurons, milliseconds) of a branch of a block, by scale."""
        scales = len(self.runtime.architecture.scales)
        counts = sorted({1, max(self.width // 2, 1), self.width})
        with_others = [
            [(n, self._more([1, *_at(scale, n, scales)[1:]])) for n in counts]
            for scale in range(1, scales)
        ]
        # Alone and beside the least branch of the finest scale: the difference is that.
        half = counts[len(counts) // 2]
        alone = self._more(_at(1, half, scales))
        first = max(dict(with_others[0])[half] - alone, 0.0)
        finest = [(n, self._more(_at(0, n, scales)) + first) for n in counts if n > 1]
        return [[(1, first), *finest], *with_others]

    def _more(self, row: list[int]) -> float:
        """What a block takes more than one with a neuron at the finest scale."""
        network = self.runtime.variant(self.number, row)
        with self.runtime.opened(network) as run:
            more = self.runtime.difference(run, self.base) / self.blocks
        keras.backend.clear_session()
        self.bar.update()
        return more


def _at(scale: int, neurons: int, scales: int) -> list[int]:
    return [neurons if index == scale else 0 for index in range(scales)]
