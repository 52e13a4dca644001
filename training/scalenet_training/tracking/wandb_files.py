"""What Weights & Biases has kept of a run offline, read from its files."""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import struct
import zlib
from collections.abc import Iterator
from typing import Any

# wandb reads its files in a program of its own; of Python it has the messages alone.
_MAGIC = b":W&B"
_BLOCK = 2**15  # bytes, across which no part of a record goes
_HEADER = struct.Struct("<IHB")  # of a part: checksum, length, kind
_FULL, _FIRST, _LAST = 1, 2, 4


@dataclasses.dataclass(frozen=True)
class Kept:
    """What the offline folders of a run hold, all together.

    Attributes:
        points: (step, name of a number) of all points.
        exit_code: That of the last process, where that has ended its part.
    """

    points: set[tuple[int, str]]
    exit_code: int | None


def kept_offline(folder: str, identity: str) -> Kept:
    """Reads all that was kept of a run.

    Args:
        folder: Where the offline folders of all runs are.
        identity: The id of the run.
    """
    pattern = os.path.join(
        glob.escape(folder), f"offline-run-*-{identity}", f"run-{identity}.wandb"
    )
    points: set[tuple[int, str]] = set()
    exit_code = None
    for path in sorted(glob.glob(pattern)):  # names have the time in them
        exit_code = None
        for record in _records(path):
            kind = record.WhichOneof("record_type")
            if kind == "history":
                points |= _points(record.history)
            elif kind == "exit":
                exit_code = record.exit.exit_code
    return Kept(points, exit_code)


def _points(history: Any) -> set[tuple[int, str]]:
    names = {(item.key or ".".join(item.nested_key)): item for item in history.item}
    step = names.get("_step")
    number = history.step.num if step is None else json.loads(step.value_json)
    return {(number, name) for name in names if not name.startswith("_")}


def _records(path: str) -> Iterator[Any]:
    """The records of a file up to its end, or to where a killed process has left it."""
    from wandb.proto.wandb_internal_pb2 import Record

    with open(path, "rb") as file:
        data = file.read()
    for payload in payloads(data):
        record = Record()
        record.ParseFromString(payload)
        yield record


def payloads(data: bytes) -> Iterator[bytes]:
    """The records in the bytes of a .wandb file, up to the first that is cut off.

    Source: LevelDB, "Log file format", with a header of the file of seven bytes.
    """
    position, parts = _HEADER.size, b""
    while data.startswith(_MAGIC):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER.size:  # no record begins there
            position += left
        start = position + _HEADER.size
        if len(data) < start:
            return
        checksum, length, kind = _HEADER.unpack(data[position:start])
        part = data[start : start + length]
        if zlib.crc32(part, zlib.crc32(bytes([kind]))) != checksum:
            return
        position = start + length
        parts = part if kind in (_FULL, _FIRST) else parts + part
        if kind in (_FULL, _LAST):
            yield parts
