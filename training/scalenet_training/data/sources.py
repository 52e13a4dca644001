"""Datasets by the names that `--dataset` takes.

To add a kind, write a module in `kinds/` that opens it and give it a row in `KINDS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from scalenet_training.data.files.folder import is_folder, is_listed, list_folder
from scalenet_training.data.files.listing import Reading
from scalenet_training.data.files.manifest import is_manifest, list_manifest
from scalenet_training.data.kinds.digits import open_digits
from scalenet_training.data.kinds.images import open_images
from scalenet_training.data.kinds.prepared import open_prepared
from scalenet_training.data.source import Source


class Request(NamedTuple):
    """What the options say of a dataset; see `open_source`."""

    name: str
    data_dir: str | None
    download: bool
    reading: Reading

    @property
    def path(self) -> str:
        """The name as a path."""
        return os.path.expanduser(self.name)


class Kind(NamedTuple):
    """A kind of dataset.

    Attributes:
        is_meant: Whether a request is for this kind.
        open: Opens the dataset; raises ValueError where it cannot.
        of_files: Whether `--on-damaged skip` applies to it.
    """

    is_meant: Callable[[Request], bool]
    open: Callable[[Request], Source]
    of_files: bool = False


# The first kind that is meant is opened.
KINDS: Sequence[Kind] = (
    Kind(
        lambda request: is_manifest(request.path),
        lambda request: open_images(list_manifest(request.path), request.reading),
        of_files=True,
    ),
    Kind(lambda request: request.name == "digits", lambda _: open_digits()),
    Kind(
        lambda request: is_folder(request.name, request.data_dir),
        lambda request: open_images(list_folder(request.path), request.reading),
        of_files=True,
    ),
    Kind(
        lambda _: True,
        lambda request: open_prepared(request.name, request.data_dir, request.download),
    ),
)


def open_source(
    name: str,
    data_dir: str | None,
    download: bool,
    reading: Reading | None = None,
    kinds: Sequence[Kind] = KINDS,
) -> Source:
    """Opens a dataset by the name that `--dataset` takes.

    Args:
        name: digits, a folder, a manifest, or a name of TensorFlow Datasets.
        data_dir: Folder of TensorFlow Datasets; None for its default.
        download: Whether to fetch a dataset that is not there.
        reading: How image files are examined.
        kinds: The kinds of dataset that there are.

    Raises:
        ValueError: There is no such dataset, or it is not one for classification.
    """
    request = Request(name, data_dir, download, reading or Reading())
    kind = _kind(request, kinds)
    if request.reading.on_damaged != "stop" and not kind.of_files:
        raise ValueError(
            "`on_damaged` skip is for folders and manifests of images. "
            f"Received: `dataset` {name}."
        )
    return kind.open(request)


def inherited_data_dir(name: str, own: str, data_dir: str | None) -> str | None:
    """The `data_dir` of a run, for a dataset that may be another than its own.

    Args:
        name: Of the dataset; a folder that is here is meant, and needs none.
        own: The name of the run's dataset.
        data_dir: That of the run.
    """
    return None if name != own and is_folder(name, None) else data_dir


def same_dataset(name: str, other: str, data_dir: str | None = None) -> bool:
    """Whether two names are of one dataset: equal, or of one folder or manifest.

    Args:
        name: A name, as `open_source` takes it.
        other: Another one.
        data_dir: As for `open_source`.
    """
    place, other_place = (_place(each, data_dir) for each in (name, other))
    return name == other or (place is not None and place == other_place)


def would_be_listed(folder: str, name: str, data_dir: str | None) -> bool:
    """Whether what is in a folder would be listed among the images of a dataset.

    Args:
        folder: That need not be there yet.
        name: Of the dataset, as `open_source` takes it.
        data_dir: As for `open_source`.

    Raises:
        ValueError: The dataset's folder has two for one split.
    """
    request = Request(name, data_dir, False, Reading())
    if is_manifest(request.path) or not _kind(request, KINDS).of_files:
        return False
    return is_listed(folder, request.path)


def _place(name: str, data_dir: str | None) -> str | None:
    """Where the folder or the manifest is; None where the name is of another kind."""
    request = Request(name, data_dir, False, Reading())
    is_of_files = _kind(request, KINDS).of_files
    return os.path.realpath(request.path) if is_of_files else None


def _kind(request: Request, kinds: Sequence[Kind]) -> Kind:
    return next(kind for kind in kinds if kind.is_meant(request))
