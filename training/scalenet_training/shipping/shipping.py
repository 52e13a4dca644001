"""From a run to weights that come with the package."""

from __future__ import annotations

import dataclasses
import datetime
import os
import shutil
from typing import Any

import scalenet_tf
from scalenet_tf.architectures import architecture_from_record, public_name
from scalenet_tf.files import made_folder, replaced
from scalenet_tf.shipped import EVALUATION_FILE, NETWORK_FILE
from scalenet_training.errors import SettingError
from scalenet_training.evaluate.config import EvaluateConfig
from scalenet_training.evaluate.saved import evaluate_saved
from scalenet_training.networks.exported_files import sha256
from scalenet_training.networks.model_card import without_path, without_paths
from scalenet_training.networks.saved_network import SavedNetwork, find_network
from scalenet_training.runs.files import disk_errors, write_json
from scalenet_training.runs.metrics import METRICS_FILE
from scalenet_training.runs.record import CONFIG_FILE, RunRecord
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.runs.versions import versions
from scalenet_training.shipping.config import ShipConfig

# Settings that may name files of the machine that trained.
_PLACES = ("model", "weights", "teacher", "recipe")


def ship(config: ShipConfig) -> str:
    """Writes the network, its run's record and its errors; returns the folder.

    The last epoch's network is taken: the best one is chosen by the images that the
    errors are of.

    Raises:
        UsageError: The run or its data do not fit; nothing was written.
    """
    network = find_network(config.run, "last", "`run`")
    run = RunFolder(os.path.dirname(network.path))
    record = run.read_record()
    name = _checked_name(run, record)
    target = os.path.join(os.path.realpath(config.to), record.config.dataset, name)
    with (
        disk_errors(config.to),
        made_folder(os.path.dirname(target)),
        replaced(target, with_content=True) as folder,
    ):
        os.mkdir(folder)
        path = os.path.join(folder, NETWORK_FILE)
        _save_in_float32(record, network, path)
        shutil.copyfile(run.file(METRICS_FILE), os.path.join(folder, METRICS_FILE))
        write_json(os.path.join(folder, CONFIG_FILE), _without_places(record))
        data_dir = config.data_dir or record.config.data_dir
        result = evaluate_saved(EvaluateConfig(path, data_dir=data_dir))
        write_json(
            os.path.join(folder, EVALUATION_FILE), _evaluation(record, path, result)
        )
    return target


def _checked_name(run: RunFolder, record: RunRecord) -> str:
    """The public name of the network, where a run can be shipped."""
    name = public_name(architecture_from_record(record.architecture))
    if not name:
        raise SettingError(
            "`run` must be of a network in `list_models`. "
            f"Received: {record.architecture['name']!r}."
        )
    dataset = record.config.dataset
    if record.data is None or record.data["kind"] in ("folder", "manifest"):
        raise SettingError(
            "`run` must be on a dataset with a name, not on files. "
            f"Received: {dataset!r}."
        )
    if not dataset.isidentifier():
        raise SettingError(
            f"`run` must call its dataset by its name alone. Received: {dataset!r}."
        )
    rows = run.rows()
    epochs = rows[-1]["epoch"] + 1 if rows else 0
    if run.has_diverged or epochs < record.planned_epochs:
        raise SettingError(
            f"`run` must have ended, after {record.planned_epochs} epochs. Received: "
            f"{run.path!r}, {epochs} epochs{', diverged' if run.has_diverged else ''}."
        )
    return name


def _save_in_float32(record: RunRecord, network: SavedNetwork, path: str) -> None:
    """A run in 16 bits saves a network that computes in 16 bits."""
    model = scalenet_tf.ScaleNet(
        architecture_from_record(record.architecture),
        input_shape=(record.image_size, record.image_size, 3),
        weights=network.path,
        classes=len(record.class_names),
    )
    model.save(path)


def _without_places(record: RunRecord) -> dict[str, Any]:
    """The record without folders of the machine that trained."""
    config = record.config
    cut: dict[str, Any] = {
        name: value and without_path(value)
        for name, value in vars(config).items()
        if name in _PLACES
    }
    config = dataclasses.replace(config, **cut, data_dir=None, workdir=None)
    command = without_paths(record.command)
    return dataclasses.replace(record, config=config, command=command).to_json()


def _evaluation(
    record: RunRecord, path: str, result: dict[str, float]
) -> dict[str, Any]:
    numbers = ("top1_error", "top5_error", "loss")
    return {
        "sha256": sha256(path),
        "evaluation": {
            "dataset": record.config.dataset,
            "split": record.eval_split,
            "examples": int(result["examples"]),
            **{name: float(result[name]) for name in numbers},
        },
        "versions": versions(),
        "date": datetime.date.today().isoformat(),
    }
