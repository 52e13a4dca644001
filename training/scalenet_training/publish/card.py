"""The model card of a publication: README.md, with what Hugging Face reads of it."""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
import os
from collections.abc import Mapping, Sequence
from string import Template
from typing import TYPE_CHECKING, Any

from scalenet_training.data.files.folder import is_folder_name
from scalenet_training.data.files.manifest import is_manifest
from scalenet_training.runs.metrics import interval_in_words, worth_telling
from scalenet_training.runs.record import RunRecord
from scalenet_training.text import printable, shown

if TYPE_CHECKING:
    from scalenet_tf.export import Verification

# What Hugging Face calls a number of metrics.csv, and what people do.
_METRICS = {
    "val_accuracy": ("accuracy", "accuracy"),
    "val_top1_error": ("top1_error", "top-1 error"),
    "val_top5_error": ("top5_error", "top-5 error"),
    "val_loss": ("loss", "loss"),
}


_CHOSEN = (
    "\nThe epoch was chosen by these examples: on others the error may be higher.\n"
)


@dataclasses.dataclass(frozen=True)
class Part:
    """An export in a publication.

    Attributes:
        name: Of its format.
        path: Of its file or folder, in the publication.
        verification: How it compares with the Keras model.
        card: The content of its model_card.json.
    """

    name: str
    path: str
    verification: Verification
    card: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Publication:
    """What is published.

    Attributes:
        name: Of the model.
        record: Of the run.
        network: Name of the Keras file: `best.keras` or `last.keras`.
        row: The row of metrics.csv of the epoch that is published.
        license: Identifier of its licence.
        parts: Its exports, one or more.
    """

    name: str
    record: RunRecord
    network: str
    row: Mapping[str, Any]
    license: str | None
    parts: Sequence[Part]

    @property
    def labels(self) -> list[str]:
        """The names of the classes, as they are printed."""
        return [printable(shown(name)) for name in self.record.class_names]

    @property
    def dataset(self) -> str:
        """The name of the dataset, without the folders above it."""
        return shown(os.path.basename(os.path.normpath(self.record.config.dataset)))

    @property
    def of_files(self) -> bool:
        """Whether the data were files of one's own, which no name elsewhere means."""
        if self.record.data is not None:
            return self.record.data.get("kind") in ("folder", "manifest")
        name = self.record.config.dataset
        return is_folder_name(name) or is_manifest(name)

    @property
    def transform(self) -> Mapping[str, Any]:
        """What is done to an image: `image_size`, `resize`, `normalization`."""
        return self.parts[0].card["export"]

    @property
    def metrics(self) -> dict[str, float]:
        """The measured numbers that people are shown, by the names in metrics.csv."""
        told = worth_telling(self.row, len(self.record.class_names))
        return {name: told[name] for name in _METRICS if name in told}


def render(publication: Publication, sizes: Mapping[str, int]) -> str:
    """The text of README.md.

    Args:
        publication: What is published.
        sizes: Bytes of each of its other files, by relative path.
    """
    record, row = publication.record, publication.row
    of_best = publication.network == "best.keras"
    examples = record.evaluation_examples
    interval = interval_in_words(row["val_top1_error"], examples)
    template = importlib.resources.files(__package__).joinpath("card.md").read_text()
    return _front_matter(publication) + Template(template).substitute(
        name=publication.name,
        architecture=record.architecture["name"],
        parameters=f"{record.parameters:,}",
        macs=f"{record.macs:,}",
        classes=len(record.class_names),
        dataset=publication.dataset,
        training_examples=f"{record.training_examples:,}",
        train_split=record.config.train_split,
        evaluation_examples=f"{examples:,}",
        eval_split=record.eval_split,
        epoch=row["epoch"] + 1,
        choice=", the best one by this measure" if of_best else ", the last one",
        caution=_CHOSEN if of_best or record.config.early_stopping else "",
        network=publication.network,
        metrics="\n".join(_metric_rows(publication)),
        interval=f"\n{interval}\n" if interval else "",
        image_size=record.image_size,
        resize=record.eval_resize,
        normalization=publication.transform["normalization"],
        files="\n".join(_file_rows(publication, sizes)),
        versions=", ".join(f"{n} {text}" for n, text in record.versions.items()),
        license=publication.license or "not stated",
    )


def _metric_rows(publication: Publication) -> list[str]:
    rows = []
    for name, value in publication.metrics.items():
        text = f"{value:.4f}" if name == "val_loss" else f"{value:.2%}"
        rows.append(f"| {_METRICS[name][1]} | {text} |")
    return rows


def _file_rows(publication: Publication, sizes: Mapping[str, int]) -> list[str]:
    by_folder = {part.name: part for part in publication.parts}
    network = publication.network
    rows = [f"| `{network}` | {sizes[network]:,} | the network, for Keras | |"]
    for name, part in by_folder.items():
        inside = [size for path, size in sizes.items() if path.startswith(f"{name}/")]
        compared = part.verification
        rows.append(
            f"| `{part.path}` | {sum(inside):,} | {name} | error "
            f"{compared.error:.1e} of the largest logit, top-1 agreement "
            f"{compared.agreement:.1%}, {compared.images} images |"
        )
    return rows


def _front_matter(publication: Publication) -> str:
    """The YAML at the top. JSON's strings and lists are YAML, too."""
    record, text = publication.record, _quoted
    lines = [
        "library_name: keras",
        "pipeline_tag: image-classification",
        *([f"license: {publication.license}"] if publication.license else []),
        *([] if publication.of_files else [f"datasets: [{text(publication.dataset)}]"]),
        "metrics: [accuracy]",
        "tags: [scalenet, image-classification, tensorflow]",
        "model-index:",
        f"- name: {text(publication.name)}",
        "  results:",
        "  - task: {type: image-classification}",
        "    dataset:",
        f"      name: {text(publication.dataset)}",
        f"      type: {text(publication.dataset)}",
        f"      split: {text(record.eval_split)}",
        "    metrics:",
        *(
            line
            for name, value in publication.metrics.items()
            for line in (
                f"    - type: {_METRICS[name][0]}",
                f"      name: {text(_METRICS[name][1])}",
                f"      value: {value!r}",
            )
        ),
    ]
    return "\n".join(["---", *lines, "---", ""])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
