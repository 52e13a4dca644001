"""From what was typed to a format and its options."""

from __future__ import annotations

from collections.abc import Sequence

from scalenet_tf.export.formats import (
    ExportFormat,
    FormatOptions,
    OptionError,
    get_format,
)
from scalenet_training.errors import UsageError
from scalenet_training.export.config import ExportConfig, option


def chosen_format(
    config: ExportConfig, formats: Sequence[ExportFormat]
) -> tuple[ExportFormat, FormatOptions]:
    """The format of an export, and its options.

    Raises:
        UsageError: There is no such format, it does not have an option, or the option
            does not have this value.
    """
    given = config.given()
    try:
        entry = get_format(config.format, formats)
        for name in given:
            if not entry.takes(name):
                others = [other for other in formats if other.takes(name)]
                raise _misplaced(name, entry, others)
        options = entry.options(given)
    except OptionError as error:
        raise UsageError(
            f"{option(error.option)} {error.rule}. Received: {error.received}."
        ) from error
    for name in ("calibration_dir", "calibration_images"):
        if getattr(config, name) is None or options.needs_calibration:
            continue
        if options.CALIBRATED is None:
            others = [other for other in formats if other.loaded.Options.CALIBRATED]
            raise _misplaced(name, entry, others)
        key, value = options.CALIBRATED
        raise UsageError(
            f"{option(name)} is for {option(key)} {value}. Received: {option(key)} "
            f"{getattr(options, key)}."
        )
    return entry, options


def _misplaced(
    name: str, entry: ExportFormat, others: Sequence[ExportFormat]
) -> UsageError:
    names = " or ".join(other.name for other in others)
    return UsageError(
        f"{option(name)} is for --format {names}. Received: --format {entry.name}."
    )
