"""Networks, files and folders that settings name, looked for before any work.

Imports no TensorFlow, so that a name that is mistyped is answered at once. A run's
record may name what is gone by now: commands look, and `Settings` do not.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, get_args

from scalenet_tf.shipped import list_weights
from scalenet_training.data.files.folder import is_folder_name
from scalenet_training.data.files.manifest import is_manifest
from scalenet_training.errors import SettingError, did_you_mean
from scalenet_training.settings.base import Settings, hints_of

# Those of `scalenet_tf.list_models`, which needs TensorFlow.
NETWORKS = (
    *("ScaleNetCifar38", "ScaleNetCifar56", "ScaleNetCifar101"),
    *("ScaleNet50Light", "ScaleNet50", "ScaleNet101", "ScaleNet152"),
    *("ResNetCifar38", "ResNetCifar56", "ResNetCifar101"),
    *("ResNet50", "ResNet101", "ResNet152"),
)
SEED = "seed:"
WEIGHTS_SUFFIXES = (".weights.h5", ".keras", ".h5")
_MANY = 1000  # files of a folder, beyond which none is suggested


@dataclasses.dataclass(frozen=True)
class Input:
    """Marks, in its type, a field that names something there must be.

    `None` is left out, and of a tuple each part is looked for.

    Attributes:
        rule: The words about it in an error.
        holds: Whether there is such a thing.
        others: What there is, to suggest what is meant.
        unless: The field that, where it is true, lets it be made.
        inside: The file that is meant where a folder that has it is named.
    """

    rule: str
    holds: Callable[[str], bool]
    others: Callable[[str], Iterable[str]]
    unless: str | None = None
    inside: str | None = None

    def check(self, option: str, name: str) -> None:
        """Raises SettingError, which begins with the option, where it is not there."""
        if not self.holds(name):
            hint = self._hint(name)
            raise SettingError(f"{option} {self.rule}. Received: {name!r}.{hint}")

    def _hint(self, name: str) -> str:
        inner = self.inside and os.path.join(name, self.inside)
        if inner and self.holds(inner):
            return f" Did you mean {inner}?"
        own = _base(name)  # is there, too, where it is a folder in place of a file
        return did_you_mean(own, (word for word in self.others(name) if word != own))


def check_inputs(
    settings: Settings, where: str = "", needless: Collection[str] = ()
) -> None:
    """Looks for all that settings, and those inside them, name.

    Args:
        settings: Of any command.
        where: What errors begin with, if not with the field.
        needless: Fields whose files are not needed any more.

    Raises:
        SettingError: Something is not there.
    """
    kind: type = type(settings)
    for field, hint in hints_of(kind).items():
        value = getattr(settings, field)
        if isinstance(value, Settings):
            check_inputs(value, where, needless)
        for mark in get_args(hint):
            if not isinstance(mark, Input) or field in needless:
                continue
            if mark.unless is None or not getattr(settings, mark.unless):
                for name in _names(value):
                    mark.check(f"{where}`{field}`", name)


def _names(value: Any) -> Iterator[str]:
    yield from value if isinstance(value, tuple) else [] if value is None else [value]


def split_network(text: str) -> tuple[str | None, str]:
    """The file that `--model` names, if it names one, and the name of the network.

    The name is empty for the one network of a file.
    """
    path, _, name = text.rpartition(".json:")
    if path:
        return f"{path}.json", name
    return (text, "") if text.endswith(".json") else (None, text)


def network(*others: str) -> Input:
    """The name of a network, its file, or one of other names."""

    def holds(text: str) -> bool:
        file, name = split_network(text.removeprefix(SEED))
        if file is not None:
            return os.path.isfile(file)
        return text in others or name.lower() in map(str.lower, NETWORKS)

    return Input(
        f"must be one of {', '.join((*NETWORKS, *others))}, or the .json file of an "
        "architecture, or file.json:Name",
        holds,
        lambda text: (
            _beside(text, ".json") if ".json" in text else (*NETWORKS, *others)
        ),
    )


def one_of(*names: str) -> Input:
    """A name from a table that scripts may replace by one of their own."""
    return Input(f"must be one of {names}", names.__contains__, lambda _: names)


def existing(rule: str, holds: Callable[[str], bool] = os.path.exists) -> Input:
    """A file or folder; the rule says of which kind."""
    return Input(f"must be {rule}", holds, _beside)


def is_shipped(name: str) -> bool:
    """Whether weights of that name come with the package."""
    return name.lower() in map(str.lower, list_weights())


def model(rule: str, holds: Callable[[str], bool]) -> Input:
    """What holds a network; also the name of weights that come with the package."""
    return Input(
        f"must be {rule}, or one of {', '.join(list_weights())}",
        lambda text: holds(text) or is_shipped(text),
        lambda text: [*list_weights(), *_beside(text)],
    )


def _beside(path: str, suffix: str = "") -> list[str]:
    """What there is in the folder of a path."""
    try:
        with os.scandir(os.path.dirname(os.path.normpath(path)) or ".") as entries:
            names = [entry.name for entry in itertools.islice(entries, _MANY)]
    except OSError:
        return []
    return [name for name in names if name.endswith(suffix)]


def _base(path: str) -> str:
    name = os.path.basename(os.path.normpath(path))
    return split_network(name)[0] or name


def _is_weights_file(path: str) -> bool:
    # Of ImageNet's, the library says where they are.
    if path == "imagenet" or is_shipped(path):
        return True
    return path.endswith(WEIGHTS_SUFFIXES) and os.path.isfile(path)


def _is_dataset(name: str) -> bool:
    path = os.path.expanduser(name)
    if is_manifest(name):
        return os.path.isfile(path)
    return not is_folder_name(name) or os.path.isdir(path)


NETWORK = network()
DATASET = existing(
    "digits, a name of TensorFlow Datasets, or a folder or a manifest (.csv, .tsv) "
    "that exists",
    _is_dataset,
)
WEIGHTS = Input(
    "must be a .weights.h5, .keras or .h5 file that exists, or one of the weights that "
    f"come with the package: {', '.join(list_weights())}",
    _is_weights_file,
    lambda text: [*list_weights(), *_beside(text)],
    inside="best.keras",
)
MODEL = model(
    "the folder of a run, or the file or folder of a model, that exists",
    os.path.exists,
)
RUN = existing("the folder of a run", os.path.isdir)
TRAINED = model("the folder of a run", os.path.isdir)
FILE = existing("a file that exists", os.path.isfile)
FOLDER = existing("a folder that exists", os.path.isdir)
STORAGE = dataclasses.replace(FOLDER, unless="download")
