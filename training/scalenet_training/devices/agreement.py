"""Whether the workers of a cluster were started alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from scalenet_training.devices.placement import Placement, values_of_replicas
from scalenet_training.errors import UsageError

_HASHED_BYTES = 6  # a whole number of 48 bits is exact in float64


def check_alike(placement: Placement, values: Callable[[], Mapping[str, Any]]) -> None:
    """Checks that all workers have the same values; all of them have to call this.

    Each worker computes a part of every batch by its own settings and data. Where these
    differ, the gradients are summed all the same, to a network of neither.

    Args:
        placement: Where the replicas are.
        values: Gives what has to be the same, as plain JSON values, by what a message
            calls it; not called where there is one worker. The names are the same on
            all workers.

    Raises:
        UsageError: A value differs, on all workers; it names what.
    """
    if placement.workers == 1:
        return
    own = values()
    if _differs(placement, dict(own)):
        differing = [name for name in own if _differs(placement, own[name])]
        raise UsageError(
            f"the workers of the cluster differ in {', '.join(differing)}. Start all "
            "of them by the same command, on the same data."
        )


def _differs(placement: Placement, value: Any) -> bool:
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()
    number = int.from_bytes(digest[:_HASHED_BYTES], "big")
    return len({*values_of_replicas(placement, number)}) > 1
