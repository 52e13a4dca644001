"""Which worker of how many this process is, by its environment. Imports no TensorFlow.

`TF_CONFIG` is TensorFlow's own description of a cluster; the Kubeflow operator sets it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from scalenet_training.errors import SettingError

# The variables that make a process one of a cluster's.
VARIABLES = ("TF_CONFIG", "SLURM_STEP_NUM_TASKS")

_JOBS = ("chief", "worker")
_FORM = (
    'TF_CONFIG must be {"cluster": {"worker": ["host:port", ...]}, "task": {"type": '
    '"worker", "index": N}}'
)


@dataclasses.dataclass(frozen=True)
class Member:
    """One worker of a cluster.

    Attributes:
        rank: Number of this worker; 0 is the chief, the only one that writes.
        size: Number of workers.
        described_by: `"TF_CONFIG"` or `"Slurm"`.
    """

    rank: int
    size: int
    described_by: str


def find_member(environment: Mapping[str, str]) -> Member | None:
    """This process' place in a cluster, or None where the environment has none.

    `TF_CONFIG` goes before Slurm.

    Raises:
        SettingError: `TF_CONFIG` does not describe a cluster of workers.
    """
    if environment.get("TF_CONFIG", "").strip():
        member = _from_tf_config(environment["TF_CONFIG"])
        if member is not None:
            return member
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", 1))
    if tasks > 1:
        return Member(int(environment["SLURM_PROCID"]), tasks, "Slurm")
    return None


def is_chief(environment: Mapping[str, str], strategy: str) -> bool:
    """Whether this process writes: all do but the other workers of a cluster.

    Args:
        environment: Of the process.
        strategy: As `--strategy` takes it; with some, each process is on its own.

    Raises:
        SettingError: `TF_CONFIG` does not describe a cluster of workers.
    """
    if strategy not in ("auto", "multiworker"):
        return True
    member = find_member(environment)
    return member is None or member.rank == 0


def _from_tf_config(text: str) -> Member | None:
    try:
        content = json.loads(text)
        cluster = dict(content.get("cluster") or {})
        task = dict(content.get("task") or {})
    except (ValueError, TypeError, AttributeError) as error:
        raise SettingError(f"{_FORM}. Received: {text!r} ({error}).") from error
    if not cluster:
        return None
    unknown = sorted(set(cluster) - set(_JOBS))
    if unknown:
        raise SettingError(
            f"TF_CONFIG's cluster must have the jobs {' and '.join(_JOBS)} alone. "
            f"Received: {', '.join(unknown)}."
        )
    for job, addresses in cluster.items():
        if not _is_list_of_addresses(addresses):
            raise SettingError(
                f"TF_CONFIG's job {job!r} must be a list of 'host:port'. "
                f"Received: {addresses!r}."
            )
    kind, index = task.get("type"), task.get("index")
    count = len(cluster.get(kind, ()))
    if not isinstance(index, int) or not 0 <= index < count:
        allowed = ", ".join(
            f"{job} 0 to {len(cluster[job]) - 1}" for job in _JOBS if cluster.get(job)
        )
        raise SettingError(
            f"TF_CONFIG's task must be one of its cluster: {allowed}. Received: "
            f"type {kind!r}, index {index!r}."
        )
    chiefs = len(cluster.get("chief", ()))
    size = chiefs + len(cluster.get("worker", ()))
    return Member(index if kind == "chief" else chiefs + index, size, "TF_CONFIG")


def _is_list_of_addresses(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(address, str) and ":" in address for address in value
    )
