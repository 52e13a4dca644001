"""What a run's folder keeps of its data, and whether they still are the same.

`data.csv.gz` lists the examples, `index.csv.gz` what is known of the files, `data.txt`
the table that was printed, and `damaged.csv` what `--on-damaged skip` has left out.
"""

from __future__ import annotations

import csv
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scalenet_training.data.division import BY_NAME
from scalenet_training.data.files.index import INDEX_FILE
from scalenet_training.data.fingerprint import (
    Listed,
    differences,
    fingerprint,
    list_examples,
    read_list,
    replaced_examples,
    write_list,
)
from scalenet_training.data.inventory import Inventory
from scalenet_training.data.source import Source
from scalenet_training.data.sources import would_be_listed
from scalenet_training.data.splits import IndexedSplit, Split
from scalenet_training.data.table import render
from scalenet_training.errors import UsageError, usage_errors
from scalenet_training.runs.files import disk_errors, written
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.text import differing, some

LIST_FILE = "data.csv.gz"
TABLE_FILE = "data.txt"
DAMAGED_FILE = "damaged.csv"


class RunData:
    """The data of a run.

    Attributes:
        facts: The fingerprint, for config.json.
        examples: The files of both parts; none of other data.
    """

    def __init__(self, source: Source, train_split: Split, eval_split: Split):
        self.source = source
        self._splits = train_split, eval_split
        parts = {"train": train_split, "evaluation": eval_split}
        self.examples = list_examples(source, parts)
        self._replaced = replaced_examples(source, self.examples)
        self.facts = fingerprint(source, self.examples)

    def check(self, folder: RunFolder) -> None:
        """Checks that the run in a folder, if there is one, had the same data.

        Raises:
            UsageError: It had not; the message says what differs.
        """
        if not folder.has_record:
            return
        recorded = folder.read_record().data
        if recorded is None:
            check_division(folder.path, None, self.source, "`workdir`")
        elif recorded != self.facts or self._replaced:
            raise UsageError(
                f"`workdir` {folder.path!r} holds a run on other data: "
                f"{self._differences(folder, recorded)}. Put the data back as they "
                "were to resume it, or give another `workdir`."
            )

    @functools.cached_property
    def table(self) -> str:
        """The table of the data; "" where nothing is known without decoding."""
        if self.source.inventory is None:
            return ""
        inventory = self.source.inventory()
        table = render(inventory, f"Data: {self.source.name}")
        return f"{table}{self._used(inventory)}"

    def _used(self, inventory: Inventory) -> str:
        """What the run takes of it, where that is less."""
        train, evaluation = self._splits
        if {train.size, evaluation.size} <= {*inventory.totals.values()}:
            return ""
        lines = [
            f"The run takes {train.size:,} of them for training and "
            f"{evaluation.size:,} for evaluation.\n"
        ]
        if isinstance(train, IndexedSplit) and train.labels is not None:
            trained = {*train.labels.tolist()}
            names = enumerate(self.source.class_names)
            lacking = [name for label, name in names if label not in trained]
            if lacking:
                what = "classes" if len(lacking) > 1 else "class"
                lines.append(
                    f"warning: {len(lacking):,} {what} without an image to train on: "
                    f"{some(lacking)}\n"
                )
        return "".join(lines)

    def write(self, folder: RunFolder) -> None:
        """Writes what the run keeps of its data."""
        with written(folder.file(TABLE_FILE)) as file:
            file.write(self.table)
        images = self.source.images
        if images is None:
            return
        with disk_errors(folder.path):
            if not os.path.exists(folder.file(LIST_FILE)):
                write_list(folder.file(LIST_FILE), self.examples)
            if images.index.changed:
                images.index.save(folder.file(INDEX_FILE))
        if images.damaged:
            with written(folder.file(DAMAGED_FILE)) as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerows([("path", "reason"), *images.damaged])

    def _differences(self, folder: RunFolder, recorded: Mapping[str, Any]) -> str:
        before = read_list(folder.file(LIST_FILE))
        if before is None and self._replaced:
            before = self.examples
        if before is not None and self.examples:
            found = differences(before, self.examples, self._replaced)
            if found:
                return "; ".join(found)
        pairs = {
            name: (recorded.get(name), self.facts.get(name))
            for name in sorted({*recorded, *self.facts})
            if recorded.get(name) != self.facts.get(name)
        }
        return differing(pairs, between="; ")


def check_outside(folder: str, dataset: str, data_dir: str | None) -> None:
    """Checks that a folder to write to is not among the images of a dataset.

    Args:
        folder: Of a run, of a search or of the runs of a study.
        dataset: As the settings name it.
        data_dir: As the settings name it.

    Raises:
        UsageError: It would be listed as a class, or as images of one.
    """
    with usage_errors():
        inside = would_be_listed(folder, dataset, data_dir)
    if inside:
        raise UsageError(
            "`workdir` must be outside of the folder of `dataset`, whose folders are "
            f"classes, and whose files are images. Received: {folder!r}, which is in "
            f"{dataset!r}."
        )


def trained_on(
    listed: Sequence[Listed], train_split: str, source: Source, split: Split, name: str
) -> int | None:
    """How many examples of a split a run was trained on; None where it is not known.

    Args:
        listed: What `read_examples` gives of the run.
        train_split: Its training split.
        source: Its dataset, opened now.
        split: The examples.
        name: The name of their split.
    """
    if source.images is not None:
        trained = {example.name for example in listed if example.part == "train"}
        own = list_examples(source, {"evaluation": split})
        return sum(example.name in trained for example in own) if listed else None
    if source.numbers is None:
        return None
    try:
        then, now = map(source.numbers, (train_split, name))
    except ValueError:  # TensorFlow Datasets can also slice by files
        return None
    return int(np.isin(now, then).sum())


def read_examples(folder: RunFolder) -> list[Listed]:
    """The files that a run has listed; none of other data, or without a list."""
    return read_list(folder.file(LIST_FILE)) or []


def evaluation_notes(
    listed: Sequence[Listed], source: Source, split: Split, seen: int | None
) -> list[str]:
    """What whoever reads the errors of a run on some of its own data should know.

    Args:
        listed: What `read_examples` gives of the run.
        source: Its dataset, opened now.
        split: What is evaluated on.
        seen: How many of these examples the run was trained on.

    Returns:
        A sentence each.
    """
    notes = []
    if seen:
        notes.append(f"the run was trained on {seen:,} of these {split.size:,} images")
    if source.images is None:
        return notes
    sizes = {file.name: file.size for file in source.images.files}
    gone = [e.name for e in listed if sizes.get(e.name) != e.size]
    gone += replaced_examples(source, listed)
    if gone:
        notes.append(
            f"gone or replaced since the run: {len(gone):,} of its {len(listed):,} "
            f"images ({some(gone)}); under another name they pass for new ones"
        )
    return notes


def check_division(
    run: str, data: Mapping[str, Any] | None, source: Source, option: str
) -> None:
    """Checks that a run held out the images that are held out now.

    Runs from before the data were recorded divided a folder by the places of its files.

    Args:
        run: The run, for the message.
        data: The fingerprint that it has recorded.
        source: Its dataset, opened now.
        option: That names the run, for the message.

    Raises:
        UsageError: It held out others.
    """
    if data is None and source.identity.get("division") == BY_NAME:
        raise UsageError(
            f"{option} {run!r} holds a run of an earlier version, which held out other "
            f"images of {source.name!r} than this one does: images that it was trained "
            "on would be taken for new ones. Train anew in another folder, or put "
            "the images that are held out in a folder of their own."
        )
