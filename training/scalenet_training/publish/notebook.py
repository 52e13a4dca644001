"""The notebook of a publication, which runs each of its files.

`cells.txt` has all cells; a word after `# %%` says for which format one is.
"""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Iterator
from string import Template
from typing import Any

from scalenet_tf.preprocessing import STATISTICS
from scalenet_training.publish.card import Publication

EXAMPLE = "example.png"  # an image of the user's, beside the notebook

_CELL = re.compile(r"^# %%(?: (\w+))?( \[markdown\])?$", re.MULTILINE)


def notebook(publication: Publication) -> str:
    """The content of the .ipynb file, as version 4 of the format."""
    content = {
        "cells": list(_cells(publication)),
        "metadata": {
            "kernelspec": {
                "display_name": "Python 3",
                "language": "python",
                "name": "python3",
            },
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _cells(publication: Publication) -> Iterator[dict[str, Any]]:
    record, parts = publication.record, {p.name: p.path for p in publication.parts}
    statistics = STATISTICS[publication.transform["normalization"]]
    values = {
        "name": publication.name,
        "network": publication.network,
        "example": EXAMPLE,
        "image_size": record.image_size,
        "resize": record.eval_resize,
        "mean": list(statistics[0]),
        "standard_deviation": list(statistics[1]),
    }
    text = importlib.resources.files(__package__).joinpath("cells.txt").read_text()
    _, *pieces = _CELL.split(text)
    for number, start in enumerate(range(0, len(pieces), 3)):
        format_name, markdown, body = pieces[start : start + 3]
        if format_name is not None and format_name not in parts:
            continue
        source = Template(body.strip()).substitute({**values, **parts})
        if markdown:
            source = re.sub("^# ?", "", source, flags=re.MULTILINE)
        lines = source.splitlines(keepends=True)
        cell: dict[str, Any] = {"id": f"cell-{number}", "metadata": {}, "source": lines}
        if markdown:
            yield {"cell_type": "markdown", **cell}
        else:
            yield {
                "cell_type": "code",
                "execution_count": None,
                "outputs": [],
                **cell,
            }
