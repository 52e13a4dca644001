"""What a process is in a search that several share. Imports no KerasTuner."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Literal

from scalenet_training.errors import UsageError

Role = Literal["alone", "chief", "worker"]

_VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")


def find_role(environment: Mapping[str, str]) -> Role:
    """The role of this process, by KerasTuner's environment variables.

    Raises:
        UsageError: Some of the variables are set, but not all.
    """
    given = [name for name in _VARIABLES if environment.get(name)]
    if not given:
        return "alone"
    if len(given) < len(_VARIABLES):
        raise UsageError(
            f"a search that several processes share needs the environment variables "
            f"{', '.join(_VARIABLES)}. Received: {', '.join(given)}."
        )
    return "chief" if "chief" in environment["KERASTUNER_TUNER_ID"] else "worker"


def chief_listens() -> bool:
    """Whether the chief of this worker is there."""
    address = os.environ["KERASTUNER_ORACLE_IP"], os.environ["KERASTUNER_ORACLE_PORT"]
    try:
        socket.create_connection(address, timeout=5).close()
    except OSError:
        return False
    return True
