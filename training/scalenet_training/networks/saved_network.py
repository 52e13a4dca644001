"""Networks that runs have saved: where they are, what they take, their data."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras

import scalenet_tf
from scalenet_tf.models import HEAD
from scalenet_tf.preprocessing import EvaluationTransform
from scalenet_training.data.files.index import INDEX_FILE
from scalenet_training.data.files.listing import Reading
from scalenet_training.data.source import Source, open_split
from scalenet_training.data.sources import open_source
from scalenet_training.data.splits import Split
from scalenet_training.data.transform import check_sizes
from scalenet_training.networks.saved_network_config import SavedNetworkConfig
from scalenet_training.runs.run_data import check_division, evaluation_notes
from scalenet_training.runs.run_folder import CONFIG_FILE, RunFolder


@dataclasses.dataclass(frozen=True)
class SavedNetwork:
    """A .keras file and the run it belongs to.

    Attributes:
        path: The file.
        recorded: Content of the run's config.json; empty for a file without a run.
    """

    path: str
    recorded: Mapping[str, Any]

    @property
    def run(self) -> Mapping[str, Any]:
        """The settings of the run; empty without one."""
        return self.recorded.get("config", {})

    def required(self, option: str, given: str | None) -> str:
        """A setting: as given, else the run's.

        Raises:
            ValueError: There is neither.
        """
        value = given or self.run.get(option.removeprefix("--").replace("-", "_"))
        if value is None:
            raise ValueError(
                f"{option} must be given: {self.path!r} is not in a run's folder."
            )
        return value

    def load(self) -> keras.Model:
        """Loads the network.

        Raises:
            ValueError: It is not one of this package with its top, or has weights
                that are NaN or infinite, or negative variances.
        """
        model = scalenet_tf.load_model(self.path, compile=False)
        if not any(layer.name == HEAD for layer in model.layers):
            raise ValueError(
                f"RUN-OR-MODEL must be a network of this package with its top. "
                f"Received: {self.path!r}."
            )
        return model

    def source(self, settings: SavedNetworkConfig) -> Source:
        """Opens the dataset that was given, else the run's."""
        dataset = self.required("--dataset", settings.dataset)
        data_dir = settings.data_dir or self.run.get("data_dir")
        reading = Reading(settings.on_damaged or "stop")
        if self._is_own(settings):
            reading = Reading(
                settings.on_damaged or self.run.get("on_damaged", "stop"),
                os.path.join(os.path.dirname(self.path), INDEX_FILE),
            )
        return open_source(dataset, data_dir, settings.download, reading)

    def evaluation_split(self, source: Source, settings: SavedNetworkConfig) -> Split:
        """Opens the split that was given, else the run's, else the source's own."""
        name = settings.eval_split
        if name is None:
            own = self._is_own(settings)
            name = self.recorded["eval_split"] if own else source.evaluation_split
        return open_split(source, name, "--eval-split")

    def check_division(self, source: Source, settings: SavedNetworkConfig) -> None:
        """Checks that what would be evaluated on was held out in training, too.

        Raises:
            UsageError: The run is of a version that held out other images.
        """
        own = self._is_own(settings)
        name = settings.eval_split or self.recorded.get("eval_split", "")
        if own and name.startswith("validation"):
            check_division(self.path, self.recorded, source, "RUN-OR-MODEL")

    def notes(
        self, source: Source, split: Split, settings: SavedNetworkConfig
    ) -> list[str]:
        """What to know when the errors on a split are read: a sentence each."""
        if not self._is_own(settings):
            return []
        return evaluation_notes(RunFolder(os.path.dirname(self.path)), source, split)

    def _is_own(self, settings: SavedNetworkConfig) -> bool:
        """Whether the dataset is that of the run."""
        return settings.dataset in (None, self.run.get("dataset"))

    def transform(
        self, model: keras.Model, settings: SavedNetworkConfig
    ) -> EvaluationTransform:
        """What evaluation does to an image: as given, else as in the run."""
        normalization = self.required("--normalization", settings.normalization)
        recorded = self.recorded
        size = image_size(model, settings.image_size or recorded.get("image_size"))
        resize = settings.eval_resize or recorded.get("eval_resize") or size
        check_sizes(size, resize, minimum=1)
        return EvaluationTransform(size, resize, normalization)


def find_network(run_or_model: str, saved: str) -> SavedNetwork:
    """Finds the .keras file of a run or of a path, and the run it belongs to.

    Raises:
        ValueError: There is no such file.
        UsageError: The folder is not that of a run.
    """
    path = run_or_model
    if os.path.isdir(path):
        recorded = RunFolder(path).read_config()
        path = os.path.join(path, f"{saved}.keras")
    else:
        folder = RunFolder(os.path.dirname(path))
        in_run = os.path.exists(folder.file(CONFIG_FILE))
        recorded = folder.read_config() if in_run else {}
    if not os.path.isfile(path) or not path.endswith(".keras"):
        raise ValueError(
            "RUN-OR-MODEL must be the folder of a run that has finished an epoch, or a "
            f".keras file. Received: {run_or_model!r}."
        )
    return SavedNetwork(path, recorded)


def check_classes(model: keras.Model, class_names: Sequence[str], dataset: str) -> None:
    """Raises ValueError where a dataset has not the classes of the model."""
    classes = model.output_shape[-1]
    if classes != len(class_names):
        raise ValueError(
            f"--dataset must have the model's {classes} classes. "
            f"Received: {dataset!r} with {len(class_names)}."
        )


def image_size(model: keras.Model, wished: int | None) -> int:
    """Side of the images: the model's own, or, where it takes any size, as wished."""
    height, width = model.input_shape[1:3]
    if height != width:
        raise ValueError(
            "RUN-OR-MODEL must take square images. Received a model for "
            f"{height}x{width}."
        )
    if height is None and wished is None:
        raise ValueError("--image-size must be given: the model takes any size.")
    return height or wished
