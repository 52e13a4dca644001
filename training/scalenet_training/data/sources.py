"""Datasets by the names that `--dataset` takes: digits, TFDS, folders of images."""

from __future__ import annotations

import os

from scalenet_training.data.digits import open_digits
from scalenet_training.data.folder import open_folder
from scalenet_training.data.prepared import open_prepared
from scalenet_training.data.source import Source


def open_source(name: str, data_dir: str | None, download: bool) -> Source:
    """Opens a dataset by the name that `--dataset` takes.

    Raises:
        ValueError: There is no such dataset, or it cannot serve classification.
    """
    if name == "digits":
        return open_digits()
    path_like = name.startswith(("/", "./", "../", "~"))
    if path_like or (os.path.isdir(name) and data_dir is None):
        return open_folder(os.path.expanduser(name))
    return open_prepared(name, data_dir, download)
