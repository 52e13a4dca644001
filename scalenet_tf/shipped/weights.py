"""Which weights there are, by name, and what is known of them.

Each is a folder `data/weights/<data>/<network>` with the network (`last.keras`, in
float32), the record and the metrics of the run that trained it (`config.json`,
`metrics.csv`), and `evaluation.json`: the checksum, and the errors of the very file.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import os
from typing import Any

from scalenet_tf.files import read_json

NETWORK_FILE = "last.keras"
EVALUATION_FILE = "evaluation.json"
_ROOT = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "weights")


@dataclasses.dataclass(frozen=True)
class ShippedWeights:
    """Weights that come with the package.

    Attributes:
        name: The data that they were trained on and the network, with a colon between:
            `"cifar10:ScaleNetCifar38"`.
        path: The `.keras` file.
        class_names: A label is the place of its class in them.
        normalization: What `preprocess_input` takes for images.
        evaluation: What an evaluation of the file gave: the dataset and its split, the
            number of examples, `top1_error` and `top5_error` (fractions), `loss`.
        sha256: Checksum of the file.
    """

    name: str
    path: str
    class_names: tuple[str, ...]
    normalization: str
    evaluation: dict[str, Any]
    sha256: str

    @property
    def data(self) -> str:
        """What they were trained on: `"cifar10"`."""
        return self.name.partition(":")[0]

    @property
    def network(self) -> str:
        """Public name of the network."""
        return self.name.partition(":")[2]

    def check(self) -> None:
        """Checks that the file is the one that was shipped.

        Raises:
            ValueError: It is not there, or damaged.
        """
        try:
            with open(self.path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ValueError(
                f"the weights {self.name!r} cannot be read: {error}."
            ) from error
        if digest != self.sha256:
            raise ValueError(
                f"the weights {self.name!r} are damaged: the SHA-256 of {self.path!r} "
                f"must be {self.sha256}. Received: {digest}. Install the package anew."
            )


def list_weights(pattern: str = "*") -> list[str]:
    """Names of the weights that come with the package, by a shell pattern in any case.

    Example: `list_weights("*ScaleNet*")` gives `["cifar10:ScaleNetCifar38"]`.
    """
    wanted = pattern.lower()
    return [name for name in _folders() if fnmatch.fnmatchcase(name.lower(), wanted)]


def describe_weights(name: str) -> ShippedWeights:
    """What is known of weights that come with the package: classes, errors, file.

    Args:
        name: One of `list_weights`, in any case.

    Raises:
        ValueError: There are none of that name, or their folder is damaged.
    """
    found = find_shipped(name)
    if found is None:
        raise ValueError(
            f"`name` must be one of {', '.join(list_weights())}. Received: {name!r}."
        )
    return found


def find_shipped(name: str) -> ShippedWeights | None:
    """The weights of a name, in any case; None where there are none.

    A file of the same name does not count.

    Raises:
        ValueError: Their folder is damaged.
    """
    folders = _folders()
    known = {name.lower(): name for name in folders}.get(name.lower())
    if known is None:
        return None
    folder = folders[known]
    try:
        record = read_json(os.path.join(folder, "config.json"))
        content = read_json(os.path.join(folder, EVALUATION_FILE))
        return ShippedWeights(
            name=known,
            path=os.path.join(folder, NETWORK_FILE),
            class_names=tuple(record["class_names"]),
            normalization=record["config"]["normalization"],
            evaluation=content["evaluation"],
            sha256=content["sha256"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"the weights {known!r} in {folder!r} are damaged ({error}). Install the "
            "package anew."
        ) from error


def _folders() -> dict[str, str]:
    """The folders of weights, by the names of the weights."""
    return {
        f"{data}:{network}": os.path.join(_ROOT, data, network)
        for data in _names(_ROOT)
        for network in _names(os.path.join(_ROOT, data))
        if os.path.isfile(os.path.join(_ROOT, data, network, EVALUATION_FILE))
    }


def _names(folder: str) -> list[str]:
    """What there is, but for hidden names; nothing in what is no folder."""
    try:
        return sorted(name for name in os.listdir(folder) if name[0] != ".")
    except OSError:
        return []
