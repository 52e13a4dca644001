"""Prepared datasets of TensorFlow Datasets."""

from __future__ import annotations

import difflib
import glob
import os
import re
from typing import Any

import numpy as np

from scalenet_training.data.division import select
from scalenet_training.data.inventory import Inventory
from scalenet_training.data.kinds.prepared_features import check_features
from scalenet_training.data.kinds.prepared_splits import open_prepared_split
from scalenet_training.data.source import Source

_NAME = re.compile(
    r"(?P<name>[a-zA-Z]\w*)(/(?P<config>[\w+.-]+))?(:(\d+|\*)(\.(\d+|\*)){2})?"
)


def open_prepared(name: str, data_dir: str | None, download: bool) -> Source:
    """Opens a dataset of TensorFlow Datasets that is on disk, or downloads it.

    Args:
        name: NAME or NAME/CONFIGURATION, either with :VERSION. The newest of several
            versions is opened.
        data_dir: Folder of TensorFlow Datasets; `None` for its default.
        download: Whether to download and prepare the dataset if it is not there.
            Otherwise nothing is asked of the network.

    Raises:
        ValueError: There is no such dataset, or it is not one for classification.
    """
    if data_dir is not None and not os.path.isdir(data_dir) and not download:
        raise ValueError(f"`data_dir`: there is no folder {data_dir!r}.")
    builder = _find(name, data_dir)
    if download:
        _download(builder)
    if not builder.is_prepared():
        raise ValueError(
            f"`dataset`: {name} is not in {builder.data_dir!r}. Give the folder that "
            "holds it with `data_dir`, or let it be fetched with `download`."
        )
    features = builder.info.features
    check_features(features, name)
    class_names = tuple(features["label"].names)
    return Source(
        name=name,
        class_names=class_names,
        split_names=tuple(builder.info.splits),
        open_split=lambda spec: open_prepared_split(builder, spec),
        identity=_identity(builder),
        inventory=lambda: Inventory(
            class_names,
            {name: part.num_examples for name, part in builder.info.splits.items()},
        ),
        numbers=lambda spec: select(_numbers(builder), spec, name),
    )


def _numbers(builder: Any) -> dict[str, np.ndarray]:
    """A number for each example of each split, without reading one."""
    found, first = {}, 0
    for name, part in builder.info.splits.items():
        found[name] = np.arange(first, first + part.num_examples)
        first += part.num_examples
    return found


def _identity(builder: Any) -> dict[str, Any]:
    """What distinguishes prepared datasets: the version and the sizes of the splits."""
    return {
        "kind": "tfds",
        "name": builder.info.full_name,
        "splits": {
            name: {"examples": part.num_examples, "bytes": part.num_bytes}
            for name, part in builder.info.splits.items()
        },
    }


def _find(name: str, data_dir: str | None) -> Any:
    """The builder of a dataset, from its code or from the files on disk."""
    import tensorflow_datasets as tfds

    # Before TensorFlow Datasets sees it, which looks for names with a namespace, such
    # as huggingface:name, in the network.
    parts = _NAME.fullmatch(name)
    if parts is None:
        community = re.match(r"[\w-]+:[a-zA-Z]", name)
        raise ValueError(
            "`dataset` must be digits, an existing folder, or NAME[/CONFIGURATION]"
            "[:VERSION] of TensorFlow Datasets, such as cifar10 or cifar10:3.0.2"
            f"{'; community datasets cannot be read' if community else ''}. "
            f"Received: {name!r}."
        )
    place = data_dir or tfds.core.constants.DATA_DIR
    present = _on_disk(place, parts["name"])
    configurations = {text.partition(":")[0] for text in present}
    try:
        builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
    except (ValueError, AssertionError) as error:  # the second for unknown versions
        raise ValueError(_not_found(name, parts["name"], place, present)) from error
    from_files = isinstance(builder, tfds.core.read_only_builder.ReadOnlyBuilder)
    if from_files and parts["config"] is None and len(configurations) > 1:
        raise ValueError(
            f"`dataset` must say which configuration of {parts['name']} in {place!r}: "
            f"{', '.join(sorted(configurations))}. Received: {name!r}."
        )
    return builder


def _on_disk(place: str, name: str) -> list[str]:
    """The prepared forms of a dataset, as NAME[/CONFIGURATION]:VERSION."""
    folder = os.path.join(glob.escape(place), name)
    infos = [
        path
        for pattern in ("*", os.path.join("*", "*"))
        for path in glob.glob(os.path.join(folder, pattern, "dataset_info.json"))
    ]
    forms = (os.path.relpath(os.path.dirname(path), place) for path in infos)
    return sorted(":".join(os.path.split(form)) for form in forms)


def _not_found(wished: str, name: str, place: str, present: list[str]) -> str:
    """The message for a name, configuration or version that does not exist."""
    import tensorflow_datasets as tfds

    known = tfds.list_builders(with_community_datasets=False)
    text = f"`dataset`: there is no {wished!r} in {place!r} or TensorFlow Datasets."
    if present:
        return f"{text} There: {', '.join(present)}."
    if name in known:
        kind = tfds.builder_cls(name)
        facts = [f"version {kind.VERSION}"] if kind.VERSION else []
        facts += [f"configuration {name}" for name in list(kind.builder_configs)[:10]]
        return f"{text} {name} has {', '.join(facts)}."
    local = os.listdir(place) if os.path.isdir(place) else []
    close = difflib.get_close_matches(name, {*known, *local, "digits"}, n=3)
    if close:
        text += f" Did you mean {' or '.join(close)}?"
    return (
        f"{text} It must be digits, an existing folder, or a name such as cifar10, "
        "cifar100 or imagenet2012."
    )


def _download(builder: Any) -> None:
    try:
        builder.download_and_prepare()
    except Exception as error:  # many kinds: network, disk, files to fetch by hand
        raise ValueError(
            f"`download`: {builder.name} could not be prepared: {error}"
        ) from error
