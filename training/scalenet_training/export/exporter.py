"""From a saved network to a verified version in a model repository."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from scalenet_tf import export
from scalenet_tf.decoding import decode_image
from scalenet_tf.export import Verification
from scalenet_tf.export.classifier import check_classifier
from scalenet_tf.export.verification import LEAST_AGREEMENT
from scalenet_tf.preprocessing import EvaluationTransform
from scalenet_training.data.source import Source, open_split
from scalenet_training.errors import RunError, usage_errors
from scalenet_training.export.config import ExportConfig
from scalenet_training.export.sample_images import folder_images, split_images
from scalenet_training.export.versions import new_version
from scalenet_training.networks.model_card import describe_network, write_model_card
from scalenet_training.networks.saved_network import (
    SavedNetwork,
    check_classes,
    find_network,
)
from scalenet_training.runs.files import check_writable, disk_errors

_VERIFICATION_IMAGES = 16
_WARMUP_IMAGES = 4


@dataclasses.dataclass(frozen=True)
class Export:
    """What is to be exported, loaded and checked; nothing is written yet."""

    config: ExportConfig
    network: SavedNetwork
    model: keras.Model
    transform: EvaluationTransform
    class_names: Sequence[str]
    images: Sequence[bytes]
    calibration: Sequence[bytes] | None


def export_model(config: ExportConfig) -> tuple[str, Verification]:
    """Exports a network as a new version, once another runtime has verified it.

    Returns:
        The folder of a SavedModel, or the file; and how it compares with the network.

    Raises:
        UsageError: A setting, the network or the data do not fit.
        RunError: The export differs from the network by more than the format's bound,
            an image cannot be read, or the disk cannot be written.
    """
    config.check()
    with tqdm(total=3, unit="step", leave=False, desc="loading") as bar:
        with usage_errors():
            check_writable(config.folder, "--to")
            work = _prepare(config)
        _next_step(bar, "writing")
        return _export(work, bar)


def _export(work: Export, bar: tqdm) -> tuple[str, Verification]:
    config = work.config
    with new_version(config.folder) as folder:
        exported, verify = _write(work, folder)
        _next_step(bar, "verifying")
        verification = _verified(
            work, lambda: verify(work.model, exported, work.images)
        )
        card = {
            **describe_network(work.network, work.model),
            "export": _settings(work),
        }
        with disk_errors(config.folder):
            write_model_card(folder, config.name, card, verification)
    place = os.path.join(config.folder, os.path.basename(folder))
    path = os.path.join(place, os.path.relpath(exported, folder))
    return os.path.normpath(path), verification


def _next_step(bar: tqdm, name: str) -> None:
    bar.update()
    bar.set_description(name)


def _prepare(config: ExportConfig) -> Export:
    network = find_network(config.run_or_model, config.saved)
    network.required("normalization", config.normalization)
    model = network.load()
    data = _Data(config, network, model)
    work = Export(
        config=config,
        network=network,
        model=model,
        transform=network.transform(model, config),
        class_names=data.class_names(),
        images=data.verification_images(),
        calibration=data.calibration_images(),
    )
    check_classifier(work.model, work.transform, work.class_names)
    return work


class _Data:
    """Names and images; the dataset is opened where it is needed, once."""

    def __init__(self, config: ExportConfig, network: SavedNetwork, model: keras.Model):
        self.config = config
        self.network = network
        self.model = model
        self._source: Source | None = None

    def source(self, option: str) -> Source:
        if self._source is None:
            config = self.config
            if config.dataset is None and self.network.record is None:
                raise ValueError(
                    f"{option} or --dataset must be given: {self.network.path!r} is "
                    "not in a run's folder."
                )
            self._source = self.network.source(config)
            check_classes(self.model, self._source.class_names, self._source.name)
        return self._source

    def class_names(self) -> Sequence[str]:
        path = self.config.class_names
        if path is not None:
            with open(path, encoding="utf-8") as file:
                return file.read().splitlines()
        record = self.network.record
        return (
            record.class_names if record else self.source("--class-names").class_names
        )

    def verification_images(self) -> list[bytes]:
        folder, count = self.config.images, _VERIFICATION_IMAGES
        if folder is not None:
            return folder_images(folder, count, "--images")
        source = self.source("--images")
        return split_images(self.network.evaluation_split(source, self.config), count)

    def calibration_images(self) -> list[bytes] | None:
        options = self.config.options()
        if options.get("quantization") != "int8":
            return None
        folder, count = options["calibration_dir"], options["calibration_images"]
        if folder is not None:
            return folder_images(folder, count, "--calibration-dir")
        source = self.source("--calibration-dir")
        own = self.network.own_record(self.config)
        name = own.config.train_split if own else "train"
        return split_images(open_split(source, name, "--calibration-dir"), count)


def _write(work: Export, folder: str) -> tuple[str, Callable[..., Verification]]:
    """Writes the export into a new folder: its path, and what verifies it."""
    config, options = work.config, work.config.options()
    network = (work.model, work.transform, work.class_names)
    file = os.path.join(folder, config.name)
    with usage_errors(), disk_errors(config.folder):
        if config.format == "savedmodel":
            export.save_savedmodel(
                work.model,
                folder,
                *network[1:],
                top_k=options["top_k"],
                fold=not options["no_fold"],
                on_corrupt=options["on_corrupt"],
                warmup_images=work.images[:_WARMUP_IMAGES],
            )
            return folder, export.verify_savedmodel
        os.mkdir(folder)
        if config.format == "onnx":
            file += ".onnx"
            export.convert_onnx(work.model, file, *network[1:])
            return file, export.verify_onnx
        kind = options["quantization"]
        file += f"-{'float32' if kind == 'none' else kind}.tflite"
        export.convert_tflite(
            work.model,
            file,
            *network[1:],
            quantization=options["quantization"],
            input_type=options["input_type"],
            calibration=_calibration(work),
        )
        return file, export.verify_tflite


def _calibration(work: Export) -> Iterator[np.ndarray] | None:
    if work.calibration is None:
        return None
    bar = tqdm(work.calibration, desc="calibrating", unit="image", leave=False)
    return (
        work.transform(decode_image(tf.constant(data))).numpy()[np.newaxis]
        for data in bar
    )


def _verified(work: Export, verify: Callable[[], Verification]) -> Verification:
    """The comparison, where it is within the bound."""
    with usage_errors():
        try:
            verification = verify()
        except tf.errors.OpError as error:
            raise RunError(
                f"the exported model cannot be run, nothing was kept: {error.message}"
            ) from error
    if not verification.passed:
        raise RunError(
            f"the exported model differs from {work.network.path!r}, nothing was kept: "
            f"{describe(verification)}."
        )
    return verification


def describe(verification: Verification) -> str:
    """A comparison in a line."""
    bound = verification.bound
    allowed = "no bound" if bound is None else f"at most {bound:.0e}"
    return (
        f"largest error {verification.error:.1e} of the largest logit ({allowed}), "
        f"top-1 agreement {verification.agreement:.1%} on {verification.images} images"
    )


def doubt(verification: Verification) -> str | None:
    """What to say of an export that is further off than rounding explains."""
    if not verification.doubtful:
        return None
    return (
        f"the exported model agrees with the network on {verification.agreement:.1%} "
        f"of {verification.images} images, with errors up to {verification.error:.1e} "
        f"of the largest logit; {LEAST_AGREEMENT:.0%} and less than 1 are expected. "
        "Compare it on more images (evaluate.py --compare), and calibrate int8 with "
        "images as the model will see them (--calibration-dir, --calibration-images)."
    )


def _settings(work: Export) -> dict[str, Any]:
    options = work.config.options()
    if "no_fold" in options:
        options["fold"] = not options.pop("no_fold")
    if "calibration_dir" in options:
        del options["calibration_dir"]
        count = len(work.calibration) if work.calibration else 0
        options["calibration_images"] = count
    transform = dataclasses.asdict(work.transform)
    return {"format": work.config.format, **options, **transform}
