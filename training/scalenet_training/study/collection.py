"""What the runs of a study left, collected in its results folder."""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import time

import tensorflow as tf

from scalenet_tf.files import read_bounded
from scalenet_training.devices.processor import processor_name
from scalenet_training.errors import usage_errors
from scalenet_training.invocation import typed_as
from scalenet_training.recipes.presets import options_of
from scalenet_training.runs.files import disk_errors, replacing, written
from scalenet_training.runs.metrics import METRICS_FILE, median_speed
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.study.config import StudyConfig
from scalenet_training.study.results import (
    RESULTS_FILE,
    Result,
    metrics_file,
    read_results,
    write_results,
)
from scalenet_training.study.spec import Study, StudyRun

_HARDWARE_FILE = "hardware.txt"


def has_ended(run: StudyRun) -> bool:
    """Whether a run has been trained to its last epoch."""
    folder = RunFolder(run.folder)
    rows = folder.rows()
    if not rows:
        return False
    epochs = run.arm.epochs or folder.read_record().planned_epochs
    return rows[-1]["epoch"] + 1 >= epochs


def note_hardware(run: StudyRun) -> None:
    """Keeps with a run what it is trained on; a resumed run may have had several."""
    known, now = _known_hardware(run), _describe_hardware()
    if now not in known and RunFolder(run.folder).has_record:
        with written(os.path.join(run.folder, _HARDWARE_FILE)) as file:
            file.write("\n".join([*known, now]))


def _known_hardware(run: StudyRun) -> list[str]:
    try:
        data = read_bounded(os.path.join(run.folder, _HARDWARE_FILE))
    except FileNotFoundError:
        return []
    return data.decode("utf-8", "replace").splitlines()


def _describe_hardware() -> str:
    gpus = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    listed = [str(details.get("device_name", "GPU")) for details in names]
    return ", ".join([f"{processor_name()}, {os.cpu_count()} cores", *listed])


def collect(study: Study, config: StudyConfig) -> list[Result]:
    """Adds the runs that have ended to results.csv, with their metrics.

    Rows of arms or seeds that the study no longer has stay behind the others: to train
    them again takes hours.
    """
    path = os.path.join(config.results_folder, RESULTS_FILE)
    with usage_errors():
        known = {(result.arm, result.seed): result for result in read_results(path)}
    for run in study.runs(config.runs_folder):
        if has_ended(run):
            key, result = (run.arm.name, run.seed), _result(run)
            # How this command was typed is nothing new.
            if key not in known or result != dataclasses.replace(
                known[key], command=result.command
            ):
                known[key] = result
            _keep_metrics(run, config.results_folder)
    order = [(arm.name, seed) for arm in study.arms for seed in study.seeds]
    first = [known.pop(key) for key in order if key in known]
    results = [*first, *known.values()]
    if results:
        write_results(path, results)
    return results


def _keep_metrics(run: StudyRun, folder: str) -> None:
    path = metrics_file(folder, run.arm.name, run.seed)
    with disk_errors(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    with replacing(path) as temporary:
        shutil.copyfile(os.path.join(run.folder, METRICS_FILE), temporary)


def _result(run: StudyRun) -> Result:
    folder = RunFolder(run.folder)
    rows, record = folder.rows(), folder.read_record()
    last = rows[-1]
    metrics = os.path.join(run.folder, METRICS_FILE)
    return Result(
        arm=run.arm.name,
        seed=run.seed,
        architecture=record.architecture["name"],
        parameters=record.parameters,
        macs=record.macs,
        epochs=len(rows),
        train_error=last["top1_error"],
        error=last["val_top1_error"],
        top5_error=last["val_top5_error"],
        loss=last["val_loss"],
        images_per_second=round(median_speed(rows) or 0),
        command=shlex.join(command_of(run, record.config.model)),
        hardware="; ".join(_known_hardware(run)) or "unknown",
        date=time.strftime("%Y-%m-%d", time.gmtime(os.path.getmtime(metrics))),
        versions=", ".join(f"{k} {v}" for k, v in record.versions.items()),
    )


def command_of(run: StudyRun, model: str) -> list[str]:
    """What trains a run elsewhere; folders of data and runs are the machine's.

    Args:
        run: The run.
        model: Its network, as `--model` takes it.
    """
    if run.arm.allocation is not None:
        model = os.path.join("allocations", os.path.basename(model))
    settings = dataclasses.replace(
        run.settings(model, None), workdir=os.path.join("runs", run.name)
    )
    return typed_as("train", options_of(settings, run.arm.free))
