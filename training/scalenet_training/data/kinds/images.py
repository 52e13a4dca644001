"""Image files of a folder or a manifest: examined, divided, counted."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from functools import partial

import numpy as np
import tensorflow as tf

from scalenet_tf.decoding.resizing import too_narrow
from scalenet_training.data.division import BY_NAME, divide, spread_over_classes
from scalenet_training.data.files.index import Entry, Index
from scalenet_training.data.files.listing import ImageFile, Listing, Reading, Unused
from scalenet_training.data.inventory import Inventory, inventory_of_images
from scalenet_training.data.source import ImageFiles, Source, indexed_source
from scalenet_training.text import quoted, shown, some


def open_images(listing: Listing, reading: Reading) -> Source:
    """Opens the files of a folder or a manifest.

    Raises:
        ValueError: Some files cannot be used and must not be left out, or a class has
            no images to train on.
    """
    index = Index.load(reading.index)
    skip = reading.on_damaged == "skip"
    entries = index.examine(listing.files, bodies=skip)
    problems = [_problem(entry, reading.resize) for entry in entries]
    damaged = [
        *listing.unusable,
        *(
            Unused(file.name, problem)
            for file, problem in zip(listing.files, problems, strict=True)
            if problem
        ),
    ]
    if damaged and not skip:
        raise _unusable(damaged, len(listing.files) + len(listing.unusable))
    known = [
        (file, entry)
        for file, entry, problem in zip(listing.files, entries, problems, strict=True)
        if not problem
    ]
    files = [file for file, _ in known]
    _check_classes(listing, files)
    splits = divide(files, listing.split_names)

    def inventory() -> Inventory:
        return dataclasses.replace(
            inventory_of_images(
                listing.class_names, splits, files, [entry for _, entry in known], index
            ),
            division="" if listing.split_names else BY_NAME,
            left_out=listing.left_out,
            damaged=damaged,
        )

    division = "as given" if listing.split_names else BY_NAME
    paths = tf.constant([os.fsencode(file.path) for file in files])
    labels = tf.constant([file.label for file in files], tf.int64)
    return indexed_source(
        shown(listing.path),
        listing.class_names,
        splits,
        lambda number: (
            tf.io.read_file(tf.gather(paths, number)),
            tf.gather(labels, number),
        ),
        [file.path for file in files],
        np.array([file.label for file in files], np.int64),
        order=partial(spread_over_classes, files=files),
        identity={"kind": listing.kind, "division": division},
        images=ImageFiles(files, damaged, index),
        inventory=inventory,
    )


def _problem(entry: Entry, resize: int | None) -> str:
    """Why a file cannot be used; "" where it can."""
    if entry.problem or resize is None:
        return entry.problem
    return too_narrow(entry.height, entry.width, resize) or ""


def _check_classes(listing: Listing, files: Sequence[ImageFile]) -> None:
    if listing.split_names and "train" not in listing.split_names:
        return
    trained = {file.label for file in files if file.split in (None, "train")}
    empty = [n for i, n in enumerate(listing.class_names) if i not in trained]
    if not empty:
        return
    what = "training images" if listing.split_names else "images"
    lost = " that can be read" if len(files) < len(listing.files) else ""
    raise ValueError(
        f"`dataset`: {len(empty)} of {len(listing.class_names)} classes of "
        f"{quoted(listing.path)} have no {what}{lost}: {some(empty)}."
    )


def _unusable(damaged: Sequence[Unused], total: int) -> ValueError:
    listed = ", ".join(f"{quoted(u.name)} ({u.reason})" for u in damaged[:3])
    more = f" and {len(damaged) - 3:,} more" if len(damaged) > 3 else ""
    return ValueError(
        f"`dataset`: {len(damaged):,} of {total:,} files cannot be used as images: "
        f"{listed}{more}. Replace or remove them, name the files to use in a manifest "
        "(a table with the columns path and label), or leave them out with "
        "`on_damaged` skip."
    )
