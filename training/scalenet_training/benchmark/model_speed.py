"""What was measured of a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class ModelSpeed:
    """A network, in a runtime, at a batch size.

    Attributes:
        network: Its name.
        parameters: That training changes.
        macs: Multiply-accumulates of an image.
        runtime: `tensorflow`, the graph of the Keras model, `pytorch`, or an export
            format.
        batch_size: Images of a batch.
        milliseconds: Median time of a batch.
        low: Its 10th percentile.
        high: Its 90th percentile.
        ratio: Median over the rounds of its time over the first network's.
        to_tensorflow: Of its time over that of the same network in TensorFlow's graph;
            `None` where the two did not run in turns.
        first_seconds: Building and the first call, in a process of its own.
        peak_mebibytes: Most memory of that process.
    """

    network: str
    parameters: int
    macs: int
    runtime: str
    batch_size: int
    milliseconds: float
    low: float
    high: float
    ratio: float
    to_tensorflow: float | None
    first_seconds: float
    peak_mebibytes: float


def print_table(rows: Sequence[ModelSpeed]) -> None:
    """Prints a line for each row."""
    print(
        f"{'network':<18}{'parameters':>12}{'MACs':>16}  {'runtime':<12}{'batch':>6}"
        f"{'ms':>10}{'10-90 %':>18}{'ratio':>7}{'to TF':>7}{'first, s':>10}"
        f"{'peak, MiB':>11}"
    )
    for row in rows:
        spread = f"{row.low:.1f}-{row.high:.1f}"
        other = "" if row.to_tensorflow is None else f"{row.to_tensorflow:.2f}"
        print(
            f"{row.network:<18}{row.parameters:>12,}{row.macs:>16,}  {row.runtime:<12}"
            f"{row.batch_size:>6}{row.milliseconds:>10.2f}{spread:>18}{row.ratio:>7.2f}"
            f"{other:>7}{row.first_seconds:>10.1f}{row.peak_mebibytes:>11,.0f}"
        )
