"""From a saved network to a verified version in a model repository."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from scalenet_tf.decoding import decode_image
from scalenet_tf.export import (
    FORMATS,
    Exportable,
    ExportError,
    ExportFormat,
    FormatOptions,
    Verification,
    verify,
)
from scalenet_tf.export.checking import check_classifier
from scalenet_tf.export.verification import LEAST_AGREEMENT
from scalenet_tf.extras import MissingPackageError
from scalenet_tf.preprocessing import EvaluationTransform
from scalenet_training.bars import Bar
from scalenet_training.data.source import Source, open_split
from scalenet_training.errors import RunError, usage_errors
from scalenet_training.export.config import ExportConfig
from scalenet_training.export.options import chosen_format
from scalenet_training.export.sample_images import folder_images, split_images
from scalenet_training.export.temperature import Temperature, read_temperature
from scalenet_training.export.versions import new_version
from scalenet_training.networks.class_names import check_number, read_class_names
from scalenet_training.networks.model_card import describe_network, write_model_card
from scalenet_training.networks.saved_network import (
    SavedNetwork,
    find_network,
)
from scalenet_training.runs.files import check_writable, disk_errors

_VERIFICATION_IMAGES = 16
_CALIBRATION_IMAGES = 200


@dataclasses.dataclass(frozen=True)
class Export:
    """What is to be exported, as what, loaded and checked; nothing is written yet."""

    config: ExportConfig
    formats: Sequence[ExportFormat]
    format: ExportFormat
    options: FormatOptions
    network: SavedNetwork
    description: Mapping[str, Any]
    content: Exportable
    calibration: Sequence[bytes]
    temperature: Temperature

    @property
    def folder(self) -> str:
        """Where the versions are."""
        return self.format.versions_folder(self.config.to, self.config.name)


def export_model(
    config: ExportConfig, formats: Sequence[ExportFormat] = FORMATS
) -> tuple[str, Verification]:
    """Exports a network as a new version, once another runtime has verified it.

    Args:
        config: What to export, as what.
        formats: The formats that are known.

    Returns:
        The folder of a SavedModel, or the file; and how it compares with the network.

    Raises:
        UsageError: A setting, the network or the data do not fit.
        RunError: The export differs from the network by more than the format's bound,
            an image cannot be read, the disk cannot be written, or a training replaced
            the network while it was read.
    """
    with Bar(total=3, unit="step", desc="loading") as bar:
        with usage_errors():
            work = _prepare(config, formats)
        _next_step(bar, "writing")
        return _export(work, bar)


def _export(work: Export, bar: Bar) -> tuple[str, Verification]:
    name = work.config.name
    with new_version(work.folder) as folder:
        with _unfit(), disk_errors(work.folder):
            exported = work.format.write(work.content, folder, name, work.options)
        _next_step(bar, "verifying")
        verification = _verified(work, exported)
        card = {**work.description, "export": _settings(work)}
        with disk_errors(work.folder):
            write_model_card(folder, name, card, verification, work.formats)
    place = os.path.join(work.folder, os.path.basename(folder))
    path = os.path.join(place, os.path.relpath(exported, folder))
    return os.path.normpath(path), verification


def _unfit() -> AbstractContextManager[None]:
    """Turns what the library finds unfit into UsageError; other errors are bugs."""
    return usage_errors(ExportError, MissingPackageError)


def _next_step(bar: Bar, name: str) -> None:
    bar.update()
    bar.set_description(name)


def _prepare(config: ExportConfig, formats: Sequence[ExportFormat]) -> Export:
    entry, options = chosen_format(config, formats)
    check_writable(entry.versions_folder(config.to, config.name), "`to`")
    temperature = read_temperature(config.temperature)
    network = find_network(config.run_or_model, config.saved)
    network.required("normalization", config.normalization)
    state = network.state()
    model = network.load()
    description = describe_network(network, model)
    network.check_state(state)
    data = _Data(config, network, model)
    transform = network.transform(model, config)
    content = Exportable(
        *(model, transform, data.class_names(), data.verification_images()),
        temperature=temperature.value,
    )
    temperature.check(network, len(content.class_names))
    calibration = data.calibration_images() if options.needs_calibration else []
    if options.needs_calibration:
        batches = _calibration(calibration, transform)
        content = dataclasses.replace(content, calibration=batches)
    check_classifier(content)
    return Export(
        *(config, formats, entry, options, network, description, content, calibration),
        temperature,
    )


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
                    f"{option} or `dataset` must be given: {self.network.path!r} is "
                    "not in a run's folder."
                )
            self._source = self.network.source(config)
            classes = self.model.output_shape[-1]
            check_number(classes, self._source.class_names, self._source.name)
        return self._source

    def class_names(self) -> Sequence[str]:
        path = self.config.class_names
        if path is not None:
            return read_class_names(path)
        record = self.network.record
        return (
            record.class_names if record else self.source("`class_names`").class_names
        )

    def verification_images(self) -> list[bytes]:
        folder, count = self.config.images, _VERIFICATION_IMAGES
        if folder is not None:
            return folder_images(folder, count, "`images`")
        source = self.source("`images`")
        return split_images(self.network.evaluation_split(source, self.config), count)

    def calibration_images(self) -> list[bytes]:
        folder = self.config.calibration_dir
        count = self.config.calibration_images or _CALIBRATION_IMAGES
        if folder is not None:
            return folder_images(folder, count, "`calibration_dir`")
        source = self.source("`calibration_dir`")
        own = self.network.own_record(self.config)
        name = own.config.train_split if own else "train"
        return split_images(open_split(source, name, "`calibration_dir`"), count)


def _calibration(
    images: Sequence[bytes], transform: EvaluationTransform
) -> Iterator[np.ndarray]:
    for data in Bar(images, desc="calibrating", unit="image"):
        yield transform(decode_image(tf.constant(data))).numpy()[np.newaxis]


def _verified(work: Export, exported: str) -> Verification:
    """The comparison, where it is within the bound."""
    content = work.content
    with _unfit():
        try:
            verification = verify(
                content.model, exported, content.examples, work.formats
            )
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
    settings = {"format": work.format.name, **dataclasses.asdict(work.options)}
    if work.options.CALIBRATED:
        settings["calibration_images"] = len(work.calibration)
    settings["temperature"] = work.temperature.value
    if work.temperature.fitted_to is not None:
        settings["temperature_fitted_to"] = work.temperature.fitted_to
    return settings | dataclasses.asdict(work.content.transform)
