"""Architectures that were found here, as files that say how they came about."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from scalenet_tf import Architecture
from scalenet_training.runs.files import write_json

PROVENANCE = "provenance"


def write_allocation(
    path: str | os.PathLike[str],
    architecture: Architecture,
    provenance: Mapping[str, Any],
) -> None:
    """Writes an architecture's record, whole or not at all.

    `scalenet_tf.load_architecture` and the option `--model` of the commands read it.

    Args:
        path: JSON file to write, or to replace.
        architecture: What was found.
        provenance: How, as plain JSON values: the command, data, costs, versions;
            kept under the key `"provenance"`, which readers pass over.

    Raises:
        RunError: The file cannot be written.
    """
    record = {**architecture.to_record(), PROVENANCE: dict(provenance)}
    write_json(os.fspath(path), record)
