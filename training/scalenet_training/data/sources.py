"""Datasets by the names that `--dataset` takes."""

from __future__ import annotations

import os

from scalenet_training.data.digits import open_digits
from scalenet_training.data.folder import list_folder
from scalenet_training.data.images import Reading, open_images
from scalenet_training.data.manifest import is_manifest, list_manifest
from scalenet_training.data.prepared import open_prepared
from scalenet_training.data.source import Source


def open_source(
    name: str, data_dir: str | None, download: bool, reading: Reading | None = None
) -> Source:
    """Opens a dataset by the name that `--dataset` takes.

    Args:
        name: digits, a folder, a manifest, or a name of TensorFlow Datasets.
        data_dir: Folder of TensorFlow Datasets.
        download: Whether to fetch a dataset that is not there.
        reading: How image files are examined.

    Raises:
        ValueError: There is no such dataset, or it cannot serve classification.
    """
    reading = reading or Reading()
    path = os.path.expanduser(name)
    if is_manifest(path):
        return open_images(list_manifest(path), reading)
    path_like = name.startswith(("/", "./", "../", "~"))
    if path_like or (os.path.isdir(name) and data_dir is None and name != "digits"):
        return open_images(list_folder(path), reading)
    if reading.on_damaged != "stop":
        raise ValueError(
            "--on-damaged skip is for folders and manifests of images. "
            f"Received: --dataset {name}."
        )
    if name == "digits":
        return open_digits()
    return open_prepared(name, data_dir, download)
