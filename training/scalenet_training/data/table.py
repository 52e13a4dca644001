"""The table of a dataset that is printed before a run."""

from __future__ import annotations

import collections
import io
from collections.abc import Sequence

import numpy as np

from scalenet_training.data.files.listing import Unused
from scalenet_training.data.inventory import Inventory, Spread
from scalenet_training.text import printable, quoted, some

_WIDTH = 88
_CLASSES_SHOWN = 20
_SMALLEST_SHOWN = 3


def render(inventory: Inventory, title: str) -> str:
    """The table as text, in lines of up to 88 characters."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    parts = list(inventory.totals)
    for name in ("", *parts):
        table.add_column(name, justify="right" if name else "left", overflow="fold")
    for name, *cells in _count_rows(inventory, parts):
        table.add_row(name, *cells)
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(overflow="fold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, text in _facts(inventory):
        facts.add_row(name, text)
    file = io.StringIO()
    console = Console(
        file=file, width=_WIDTH, color_system=None, markup=False, emoji=False
    )
    console.print(table, highlight=False)
    if facts.row_count:
        console.print(Padding(facts, (1, 0, 0, 0)), highlight=False)
    lines = [title, *file.getvalue().split("\n")[:-1]]
    return "".join(f"{printable(line.rstrip())}\n" for line in lines)


def _count_rows(inventory: Inventory, parts: Sequence[str]) -> list[list[str]]:
    """Images by split, for each class or, if there are many, in summary."""
    counted = inventory.by_class
    rows = [["images", *(f"{inventory.totals[part]:,}" for part in parts)]]
    if not counted:
        return rows
    if len(inventory.class_names) <= _CLASSES_SHOWN:
        for label, name in enumerate(inventory.class_names):
            rows.append([f"  {name}", *(f"{counted[p][label]:,}" for p in parts)])
        return rows
    for what, function in (("fewest", np.min), ("median", np.median), ("most", np.max)):
        cells = (f"{function(counted[part]):,.10g}" for part in parts)
        rows.append([f"  {what} in a class", *cells])
    return rows


def _facts(inventory: Inventory) -> list[tuple[str, str]]:
    """The other facts: name and text of each line."""
    facts = [("classes", f"{len(inventory.class_names):,}")]
    if inventory.by_class:
        facts.append(("smallest classes", _smallest(inventory)))
    if inventory.division:
        facts.append(("validation", inventory.division))
    for split in inventory.by_class:
        if split != "train" and (missing := inventory.classes_without(split)):
            facts.append((f"not in {split}", _counted(missing, "class", "classes")))
    if inventory.formats:
        listed = (f"{name} {count:,}" for name, count in inventory.formats.items())
        facts.append(("formats", ", ".join(listed)))
    if inventory.widths and inventory.heights:
        facts.append(("width", _sides(inventory.widths)))
        facts.append(("height", _sides(inventory.heights)))
    facts += [("left out", text) for text in _reasons(inventory.left_out)]
    facts += [("damaged", text) for text in _reasons(inventory.damaged)]
    if inventory.touched:
        counted = _counted(inventory.touched, "file", "files")
        text = f"{counted} with another time and the same size: taken for the same"
        facts.append(("changed", text))
    if inventory.equal:
        names = [pair.held_out for pair in inventory.equal]
        counted = _counted(names, "held-out image", "held-out images")
        _, held_out, training = inventory.equal[0]
        text = f"{counted} also in training, byte for byte; {quoted(held_out)} is "
        facts.append(("warning", text + quoted(training)))
    return facts


def _smallest(inventory: Inventory) -> str:
    split = "train" if "train" in inventory.by_class else next(iter(inventory.by_class))
    counts = inventory.by_class[split]
    labels = np.argsort(counts, kind="stable")[:_SMALLEST_SHOWN]
    listed = (f"{inventory.class_names[n]} ({counts[n]:,})" for n in labels)
    return f"in {split}: {', '.join(listed)}"


def _reasons(unused: Sequence[Unused]) -> list[str]:
    """A line for each reason: the number of files, and the first names."""
    names = collections.defaultdict(list)
    for name, reason in unused:
        names[reason].append(name)
    return [f"{len(own):,} {why}: {some(own)}" for why, own in names.items()]


def _counted(names: Sequence[str], one: str, many: str) -> str:
    return f"{len(names):,} {one if len(names) == 1 else many} ({some(names)})"


def _sides(spread: Spread) -> str:
    low, middle, high = spread
    return f"{low} to {high} pixels, median {middle:g}"
