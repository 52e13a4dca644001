"""Networks that runs have saved: where they are, what they take, their data."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Mapping

import keras

import scalenet_tf
from scalenet_tf.models import HEAD
from scalenet_tf.preprocessing import EvaluationTransform
from scalenet_tf.shipped import ShippedWeights, find_shipped
from scalenet_training.data.files.index import INDEX_FILE
from scalenet_training.data.files.listing import Reading
from scalenet_training.data.fingerprint import Listed
from scalenet_training.data.source import Source, open_split
from scalenet_training.data.sources import (
    inherited_data_dir,
    open_source,
    same_dataset,
)
from scalenet_training.data.splits import Split
from scalenet_training.data.transform import check_sizes
from scalenet_training.errors import RunError, SettingError, usage_errors
from scalenet_training.networks.class_names import (
    check_order,
    check_same,
    difference_note,
)
from scalenet_training.networks.exported_files import sha256
from scalenet_training.networks.saved_network_config import SavedNetworkConfig
from scalenet_training.runs.record import RunRecord
from scalenet_training.runs.run_data import (
    check_division,
    evaluation_notes,
    read_examples,
    trained_on,
)
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.settings.training import TrainConfig

# Kind of data -> the field of the settings that says where they are.
_PLACES = {"folder": "dataset", "manifest": "dataset", "tfds": "data_dir"}


@dataclasses.dataclass(frozen=True)
class SavedNetwork:
    """A .keras file and the run it belongs to.

    Attributes:
        path: The file.
        record: What the run says of itself; `None` for a file without a run.
        setting: What names it, for messages.
        shipped: What is known of weights that come with the package.
    """

    path: str
    record: RunRecord | None
    setting: str = "`run_or_model`"
    shipped: ShippedWeights | None = None

    def required(self, field: str, given: str | None) -> str:
        """A setting: as given, else the run's.

        Raises:
            SettingError: There is neither.
        """
        if given:
            return given
        if self.record is None:
            raise SettingError(
                f"`{field}` must be given: {self.path!r} is not in a run's folder."
            )
        return getattr(self.record.config, field)

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def load(self) -> keras.Model:
        """Loads the network.

        Raises:
            UsageError: It is not one of this package with its top, or has weights that
                are NaN or infinite, or negative variances.
        """
        with usage_errors():
            model = scalenet_tf.load_model(self.path, compile=False)
        if not any(layer.name == HEAD for layer in model.layers):
            raise SettingError(
                f"{self.setting} must be a network of this package with its top. "
                f"Received: {self.path!r}."
            )
        return model

    def source(self, settings: SavedNetworkConfig) -> Source:
        """Opens the dataset that was given, else the run's.

        Raises:
            UsageError: There is no such dataset, or it cannot serve classification.
        """
        dataset = self.required("dataset", settings.dataset)
        self.check_place(settings)
        data_dir, own = settings.data_dir, self.own_record(settings)
        if data_dir is None and self.record is not None:
            data_dir = _data_dir(self.record.config, dataset)
        recorded = None if self.record is None else self.record.eval_resize
        resize = settings.eval_resize or recorded
        reading = Reading(settings.on_damaged or "stop", resize=resize)
        if own is not None:
            index = os.path.join(os.path.dirname(self.path), INDEX_FILE)
            damaged = settings.on_damaged or own.config.on_damaged
            reading = Reading(damaged, index, resize)
        with usage_errors():
            source = open_source(dataset, data_dir, settings.download, reading)
        if self.record is not None:
            check = check_order if own is None else check_same
            check(self.record.class_names, source.class_names, source.name)
        return source

    def check_place(self, settings: SavedNetworkConfig) -> None:
        """Checks that the run's own data are where it says, if no others are given.

        Raises:
            SettingError: They are not.
        """
        if self.record is None or settings.dataset is not None or settings.download:
            return
        field = _PLACES.get(str((self.record.data or {}).get("kind")))
        if field is None or getattr(settings, field) is not None:
            return
        place = os.path.expanduser(getattr(self.record.config, field) or os.curdir)
        if not os.path.exists(place):
            is_full = os.path.isabs(place)
            since = "" if is_full else ", relative to the folder that it was trained in"
            raise SettingError(
                f"the data of the run of {self.path!r} are not here: they were in "
                f"{place!r}{since}. Say where they are now with `{field}`."
            )

    def measured(self) -> Mapping[str, float] | None:
        """What was measured of it, by the names in metrics.csv, if that is known.

        The row of the epoch at whose end it was saved. The errors of weights that come
        with the package are those of their file, which computes in float32.
        """
        folder = RunFolder(os.path.dirname(self.path))
        rows = folder.rows()
        row: Mapping[str, float] | None = None
        if rows and self.saved == "last":
            row = rows[-1]
        elif rows and self.saved == "best":
            row = folder.best_row()
        if row is None or self.shipped is None:
            return row
        told = self.shipped.evaluation
        names = ("loss", "top1_error", "top5_error")
        return {**row, **{f"val_{name}": told[name] for name in names}}

    def state(self) -> tuple[str, str]:
        """What differs once a training has saved another network in its place."""
        # As text, in which a number that is NaN is equal to itself.
        row = str(self.measured()) if self.record is not None else ""
        return sha256(self.path), row

    def check_state(self, before: tuple[str, str]) -> None:
        """Checks that all that was read of it since an earlier state is of one network.

        Raises:
            RunError: A training has saved another one meanwhile.
        """
        if self.state() != before:
            raise RunError(
                f"{self.path!r} was replaced while it was read, and nothing was kept: "
                f"the run is still training, and its {self.saved} network changed "
                "meanwhile. Wait for its end, or start again."
            )

    @property
    def saved(self) -> str:
        """Name of the file: of a run's, `"best"` or `"last"`."""
        return os.path.splitext(os.path.basename(self.path))[0]

    def split_name(self, source: Source, settings: SavedNetworkConfig) -> str:
        """The split that was given, else the run's, else the source's own.

        Raises:
            UsageError: There is none.
        """
        own = self.own_record(settings)
        recorded = None if own is None else own.eval_split
        with usage_errors():
            return settings.eval_split or recorded or source.evaluation_split

    def evaluation_split(self, source: Source, settings: SavedNetworkConfig) -> Split:
        """Opens the split to evaluate on; see `split_name`.

        Raises:
            UsageError: There is no such split.
        """
        name = self.split_name(source, settings)
        with usage_errors():
            return open_split(source, name, "`eval_split`")

    def check_division(self, source: Source, settings: SavedNetworkConfig) -> None:
        """Checks that what would be evaluated on was held out in training, too.

        Raises:
            UsageError: The run is from a version that held out other images.
        """
        own = self.own_record(settings)
        if own is None:
            return
        split = settings.eval_split or own.eval_split
        if split.startswith("validation") or "[" in split:
            check_division(self.path, own.data, source, self.setting)

    def notes(
        self, source: Source, split: Split, settings: SavedNetworkConfig
    ) -> list[str]:
        """What to know when the errors on a split are read: a sentence each."""
        if self.record is None:
            return []
        if self.own_record(settings) is None:
            return difference_note(self.record.class_names, source.class_names)
        seen = self.trained_on(source, split, settings)
        return evaluation_notes(self._examples, source, split, seen)

    def trained_on(
        self, source: Source, split: Split, settings: SavedNetworkConfig
    ) -> int | None:
        """How many examples of a split it was trained on, where that is known.

        None also for other data than those of the run.
        """
        own = self.own_record(settings)
        if own is None:
            return None
        name = self.split_name(source, settings)
        return trained_on(self._examples, own.config.train_split, source, split, name)

    @functools.cached_property
    def _examples(self) -> list[Listed]:
        return read_examples(RunFolder(os.path.dirname(self.path)))

    def own_record(self, settings: SavedNetworkConfig) -> RunRecord | None:
        """The run's record, where the dataset is that of the run."""
        if self.record is None:
            return None
        own, given = self.record.config, settings.dataset
        if given is None or same_dataset(given, own.dataset, _data_dir(own, given)):
            return self.record
        return None

    def transform(
        self, model: keras.Model, settings: SavedNetworkConfig
    ) -> EvaluationTransform:
        """What evaluation does to an image: as given, else as in the run.

        Raises:
            UsageError: The sizes do not fit each other, or are not known.
        """
        normalization = self.required("normalization", settings.normalization)
        size = self.image_size(model, settings.image_size)
        recorded = None if self.record is None else self.record.eval_resize
        resize = settings.eval_resize or recorded or size
        with usage_errors():
            check_sizes(size, resize, minimum=1)
        return EvaluationTransform(size, resize, normalization)

    def image_size(self, model: keras.Model, given: int | None) -> int:
        """Side of the images: the model's; where it takes any, as given or the run's.

        Raises:
            SettingError: The images are not square, or the size is not known.
        """
        height, width = model.input_shape[1:3]
        if height != width:
            raise SettingError(
                f"{self.setting} must take square images. Received a model for "
                f"{height}x{width}."
            )
        recorded = None if self.record is None else self.record.image_size
        size = height or given or recorded
        if given not in (None, size):
            raise SettingError(
                f"`image_size` must be left out, or {size}, which is all that the "
                f"model takes. Received: {given}."
            )
        if size is None:
            raise SettingError("`image_size` must be given: the model takes any size.")
        return size


def _data_dir(run: TrainConfig, dataset: str) -> str | None:
    return inherited_data_dir(dataset, run.dataset, run.data_dir)


def check_saved(model: str, saved: str, is_run: bool) -> None:
    """Raises SettingError where `saved` cannot choose, since there is one network."""
    if saved != "best" and not is_run:
        raise SettingError(
            f"`saved` {saved} is for the folder of a run. Received: {model!r}."
        )


def find_network(
    run_or_model: str, saved: str, setting: str = SavedNetwork.setting
) -> SavedNetwork:
    """Finds the .keras file of a run or of a path, and the run it belongs to.

    That of weights that come with the package is the one they have.

    Raises:
        SettingError: There is no such file, the package's is damaged, or `saved` is
            given for a file.
        UsageError: The folder is not that of a run.
    """
    with usage_errors():
        shipped = find_shipped(run_or_model)
        if shipped is not None:
            shipped.check()
            run_or_model = shipped.path
    is_folder = os.path.isdir(run_or_model)
    check_saved(run_or_model, saved, is_run=is_folder)
    folder = RunFolder(run_or_model if is_folder else os.path.dirname(run_or_model))
    path = folder.file(f"{saved}.keras") if is_folder else run_or_model
    record = folder.read_record() if is_folder or folder.has_record else None
    if is_folder and not os.path.isfile(path):
        raise SettingError(
            f"{run_or_model!r} is not the folder of a run that has finished an epoch: "
            f"it has no {saved}.keras."
        )
    if not os.path.isfile(path) or not path.endswith(".keras"):
        raise SettingError(
            f"{setting} must be the folder of a run that has finished an epoch, or a "
            f".keras file. Received: {run_or_model!r}."
        )
    return SavedNetwork(path, record, setting, shipped)
