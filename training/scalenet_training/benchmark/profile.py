"""Where the time goes: the operations of a step or of inference, by their time."""

from __future__ import annotations

import collections
import dataclasses
import glob
import os
import tempfile
import time
from collections.abc import Iterable, Sequence

import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from scalenet_training.benchmark.config import ModelsConfig, ProfileConfig
from scalenet_training.benchmark.models import Run, build, make_run
from scalenet_training.benchmark.tables import print_rows
from scalenet_training.errors import usage_errors
from scalenet_training.runs.files import write_rows

_COLUMNS = {
    "operation": ("operation", "<48"),
    "count": ("count", ">8.0f"),
    "milliseconds": ("ms", ">10.2f"),
    "share": ("share", ">8.1%"),
}


@dataclasses.dataclass(frozen=True)
class OperationTime:
    """Operations of a type, or one operation.

    Attributes:
        operation: The type, or the name.
        count: How often it ran in a call.
        milliseconds: Time in a call, without that of operations within; summed over
            threads.
        share: Part of the time of all operations.
    """

    operation: str
    count: float
    milliseconds: float
    share: float


def profile(config: ProfileConfig) -> list[OperationTime]:
    """Profiles, prints a table, and writes it where that was asked for.

    Raises:
        UsageError: There is no such network.
        RunError: The table cannot be written.
    """
    settings = ModelsConfig(
        networks=(config.network,),
        work=config.work,
        image_size=config.image_size,
        classes=config.classes,
        mixed_precision=config.mixed_precision,
    )
    with usage_errors():
        model = build(config.network, settings)
    run = make_run(model, settings, config.batch_size)
    for _ in range(2):  # traces, plans, allocates
        run()
    began = time.perf_counter()
    for _ in range(config.calls):
        run()
    passed = (time.perf_counter() - began) / config.calls
    rows = _rows(_profiled(run, config.calls), config)
    _print(rows[: config.top], rows, passed, config)
    if config.output is not None:
        write_rows(config.output, [dataclasses.asdict(row) for row in rows])
        print(f"written: {config.output}")
    return rows


def _profiled(run: Run, calls: int) -> list[xplane_pb2.XPlane]:
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        try:
            for _ in range(calls):
                run()
        finally:
            tf.profiler.experimental.stop()
        pattern = os.path.join(folder, "**", "*.xplane.pb")
        (path,) = glob.glob(pattern, recursive=True)
        with open(path, "rb") as file:
            return list(xplane_pb2.XSpace.FromString(file.read()).planes)


def _rows(
    planes: Iterable[xplane_pb2.XPlane], config: ProfileConfig
) -> list[OperationTime]:
    picoseconds: collections.Counter[str] = collections.Counter()
    counts: collections.Counter[str] = collections.Counter()
    for plane in planes:
        for line in plane.lines:
            for name, own in _own_times(line, plane):
                # An operation's event is `name:type`; the executor's have `::`.
                name, _, kind = name.rpartition(":")
                if kind.isidentifier() and name and not name.endswith(":"):
                    key = kind if config.by == "type" else f"{name} ({kind})"
                    picoseconds[key] += own
                    counts[key] += 1
    whole = sum(picoseconds.values())
    return [
        OperationTime(
            operation=key,
            count=counts[key] / config.calls,
            milliseconds=own / 1e9 / config.calls,
            share=own / whole,
        )
        for key, own in picoseconds.most_common()
    ]


def _own_times(
    line: xplane_pb2.XLine, plane: xplane_pb2.XPlane
) -> Iterable[tuple[str, int]]:
    """Name and picoseconds of each event, without those of the events within."""
    events = sorted(line.events, key=lambda e: (e.offset_ps, -e.duration_ps))
    within = [event.duration_ps for event in events]
    open_events: list[int] = []
    for index, event in enumerate(events):
        while open_events:
            last = events[open_events[-1]]
            if event.offset_ps < last.offset_ps + last.duration_ps:
                within[open_events[-1]] -= event.duration_ps
                break
            open_events.pop()
        open_events.append(index)
    for event, own in zip(events, within, strict=True):
        yield plane.event_metadata[event.metadata_id].name, max(own, 0)


def _print(
    shown: Sequence[OperationTime],
    rows: Sequence[OperationTime],
    passed: float,
    config: ProfileConfig,
) -> None:
    whole = sum(row.milliseconds for row in rows)
    print(
        f"{config.network}, {config.work} of {config.batch_size} images: "
        f"{1e3 * passed:.1f} ms, without the profiler; {whole:.1f} ms of operations "
        f"on all threads, with it."
    )
    print_rows(shown, _COLUMNS)
