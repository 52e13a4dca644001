"""From a run to a folder that others can use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from scalenet_tf.export import FORMATS
from scalenet_tf.export.formats import get_format
from scalenet_tf.files import made_folder
from scalenet_training.errors import SettingError
from scalenet_training.export.config import ExportConfig
from scalenet_training.export.exporter import export_model
from scalenet_training.export.options import chosen_format
from scalenet_training.networks.exported_files import read_model_card, sha256
from scalenet_training.networks.saved_network import find_network
from scalenet_training.publish.card import Part, Publication, render
from scalenet_training.publish.config import PublishConfig
from scalenet_training.publish.notebook import EXAMPLE, notebook
from scalenet_training.runs.files import check_replaceable, disk_errors, replaced
from scalenet_training.runs.summary import model_name

LABELS, SUMS = "labels.txt", "SHA256SUMS"
CARD, LICENSE, NOTEBOOK = "README.md", "LICENSE", "usage.ipynb"
# All that is written into a publication.
_NAMES = {
    *("best.keras", "last.keras", LABELS, SUMS, CARD, LICENSE, NOTEBOOK),
    *(entry.name for entry in FORMATS),
}


def publish(config: PublishConfig) -> list[str]:
    """Writes the folder; gives the paths of its files.

    Raises:
        UsageError: A setting, the run or the folder does not fit; nothing was written.
        RunError: An export differs from the network, the disk cannot be written, or a
            training replaced the network meanwhile; what was there before is intact.
    """
    network = find_network(config.run, config.saved, "`run`")
    state = network.state()
    row = network.measured()
    assert network.record is not None  # `run` is a folder, or comes with the package
    if row is None:
        raise SettingError(f"`run` {config.run!r} has lost its metrics.csv.")
    check_folder(config.folder)
    for name in config.formats:
        chosen_format(_export_config(config, name, ""), FORMATS)
    place = os.path.realpath(config.folder)
    with (
        disk_errors(config.folder),
        made_folder(os.path.dirname(place)),
        replaced(place, with_content=True) as folder,
    ):
        os.mkdir(folder)
        parts = [*_exported(config, folder)]
        publication = Publication(
            name=config.name or model_name(config.run),
            record=network.record,
            network=os.path.basename(network.path),
            row=row,
            license=config.license,
            parts=parts,
        )
        shutil.copyfile(network.path, os.path.join(folder, publication.network))
        network.check_state(state)
        _write(config, folder, publication)
        example = os.path.join(place, EXAMPLE)
        if os.path.isfile(example):  # the reader's own, without a sum
            shutil.copyfile(example, os.path.join(folder, EXAMPLE))
    return [os.path.join(config.folder, name) for name in files_of(config.folder)]


def check_folder(path: str) -> None:
    """Checks that a publication may be written to a folder; writes nothing.

    Raises:
        UsageError: It is there and neither empty nor an earlier one, or it cannot be
            written.
    """
    is_example = os.path.isfile(os.path.join(path, EXAMPLE))
    known = {*_NAMES, EXAMPLE} if is_example else _NAMES
    check_replaceable(path, "folder", "publication", SUMS, known)


def files_of(folder: str) -> list[str]:
    """The files of a folder and of those in it, by relative path, in order."""
    return sorted(
        os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/")
        for place, _, names in os.walk(folder)
        for name in names
    )


def _export_config(config: PublishConfig, format_name: str, to: str) -> ExportConfig:
    return ExportConfig(
        run_or_model=config.run,
        name=config.name or model_name(config.run),
        saved=config.saved,
        format=format_name,
        to=to,
        images=config.images,
        data_dir=config.data_dir,
    )


def _exported(config: PublishConfig, folder: str) -> Iterator[Part]:
    """Exports into a repository beside the folder, and moves the versions into it."""
    repository = os.path.join(os.path.dirname(folder), "exports")
    for name in config.formats:
        settings = _export_config(config, name, repository)
        path, verification = export_model(settings)
        entry = get_format(name)
        version = os.path.join(entry.versions_folder(repository, settings.name), "1")
        target = os.path.join(folder, name)
        os.rename(version, target)
        inside = os.path.normpath(os.path.join(target, os.path.relpath(path, version)))
        yield Part(
            name=name,
            path=os.path.relpath(inside, folder).replace(os.sep, "/"),
            verification=verification,
            card=read_model_card(inside),
        )


def _write(config: PublishConfig, folder: str, publication: Publication) -> None:
    def file(name: str) -> str:
        return os.path.join(folder, name)

    if config.license_file is not None:
        shutil.copyfile(config.license_file, file(LICENSE))
    _write_text(file(LABELS), "".join(f"{n}\n" for n in publication.labels))
    _write_text(file(NOTEBOOK), notebook(publication))
    sizes = {name: os.path.getsize(file(name)) for name in files_of(folder)}
    _write_text(file(CARD), render(publication, sizes))
    sums = [f"{sha256(file(name))}  {name}\n" for name in files_of(folder)]
    _write_text(file(SUMS), "".join(sums))


def _write_text(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
