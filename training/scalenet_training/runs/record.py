"""What a run says of itself in config.json. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

from scalenet_training.runs.metrics import Curve
from scalenet_training.settings.base import SIDE
from scalenet_training.settings.reading import check_type
from scalenet_training.settings.training import TrainConfig

CONFIG_FILE = "config.json"

# What a run keeps when it goes on, beside its settings and its data.
_LASTING = (
    "architecture",
    "class_names",
    "image_size",
    "eval_resize",
    "eval_split",
    "training_examples",
    "evaluation_examples",
    "shards",
    "teacher",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The content of config.json.

    Attributes:
        config: The settings.
        command: The words of the command line that began or resumed the run.
        architecture: The network's record, as in its JSON file.
        class_names: A label is the place of its class in them.
        data: Fingerprint of the data; `None` for runs of version 0.1.0.
        teacher: SHA-256 of the teacher's files; `None` without one.
        image_size: Side of the input, in pixels.
        eval_resize: Side that evaluation resizes images to before it crops them.
        eval_split: What was evaluated on.
        training_examples: Size of the training split.
        evaluation_examples: Size of the evaluation split.
        shards: Parts of the training split that are read apart.
        parameters: Trainable parameters.
        macs: Multiply-accumulates of an image.
        strategy: Name of the strategy: `"none"`, `"mirrored"`, ...
        replicas: Replicas of all workers.
        workers: Number of workers.
        xla: Whether a replica's forward and backward pass was compiled.
        versions: Versions of what computed.
    """

    config: TrainConfig
    command: list[str]
    architecture: dict[str, Any]
    class_names: list[str]
    data: dict[str, Any] | None = None
    teacher: str | None = None
    image_size: int
    eval_resize: int
    eval_split: str
    training_examples: int
    evaluation_examples: int
    shards: int
    parameters: int
    macs: int
    strategy: str
    replicas: int
    workers: int
    xla: bool
    versions: dict[str, str]

    @property
    def planned_epochs(self) -> int:
        """Epochs of the whole run; `max_steps` may end it within the last of them."""
        whole, left = self._planned
        return whole + (left > 0)

    @property
    def unfinished_epoch(self) -> int | None:
        """The epoch within which `max_steps` ends the run, counted from 0."""
        whole, left = self._planned
        return whole if left else None

    @property
    def _planned(self) -> tuple[int, int]:
        """Whole epochs of the run, and steps of one more."""
        examples = self.training_examples
        steps_per_epoch = max(1, self.config.steps_per_epoch(examples))
        return divmod(self.config.total_steps(examples), steps_per_epoch)

    def curve(self, rows: Sequence[Mapping[str, Any]]) -> Curve:
        """Rows of metrics.csv, with what decides which epoch is the best."""
        return Curve(rows, self.config.best, self.unfinished_epoch)

    def has_ended(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether a run with these rows has nothing left to train."""
        if not rows:
            return False
        early = self.curve(rows).has_run_out(self.config.early_stopping)
        return early or rows[-1]["epoch"] + 1 >= self.planned_epochs

    def to_json(self) -> dict[str, Any]:
        """The content of config.json as plain JSON values."""
        values = {**vars(self), "config": self.config.to_json()}
        return {name: value for name, value in values.items() if value is not None}

    def lasting(self) -> dict[str, Any]:
        """What must stay when the run goes on, beside its settings and its data."""
        return {name: getattr(self, name) for name in _LASTING}

    @classmethod
    def from_json(cls, content: Any) -> RunRecord:
        """The record that `to_json` gave; what later versions add is passed over.

        Raises:
            ValueError: A field is missing or has another type; the message names it.
        """
        if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
            raise ValueError("it has no field 'config' with settings")
        settings = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in content["config"].items()
        }
        config = TrainConfig(**_fields(TrainConfig, settings, "config."))
        record = cls(**_fields(cls, {**content, "config": config}, ""))
        for name in ("command", "class_names"):
            if not getattr(record, name):
                raise ValueError(f"its field {name!r} is empty")
        if not isinstance(record.architecture.get("name"), str):
            raise ValueError("its field 'architecture.name' is no text")
        for name in ("image_size", "eval_resize"):
            if not SIDE.holds(getattr(record, name)):
                raise ValueError(f"its field {name!r} {SIDE.rule}")
        return record


def _fields(kind: type, values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The values of a dataclass' fields, those without default required."""
    found = {}
    for field, hint in _hinted(kind):
        name = f"{prefix}{field.name}"
        if field.name in values:
            try:
                check_type(values[field.name], hint)
            except ValueError as error:
                raise ValueError(f"its field {name!r} is wrong: {error}") from error
            found[field.name] = values[field.name]
        elif field.default is dataclasses.MISSING:
            raise ValueError(f"it has no field {name!r}")
    return found


@functools.cache
def _hinted(kind: type) -> list[tuple[dataclasses.Field, Any]]:
    """The fields of a dataclass with their types."""
    hints = get_type_hints(kind)
    return [(field, hints[field.name]) for field in dataclasses.fields(kind)]
