"""From what was typed to a format and its options."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from scalenet_tf.export.formats import ExportFormat, get_format
from scalenet_tf.export.interface import FormatOptions, OptionError
from scalenet_training.errors import UsageError
from scalenet_training.export.config import CALIBRATION, ExportConfig, option


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
        for name in (*given, *config.calibration_given()):
            if not _takes(entry, name):
                others = " or ".join(
                    other.name for other in formats if _takes(other, name)
                )
                raise UsageError(
                    f"{option(name)} is for `format` {others}. "
                    f"Received: `format` {entry.name}."
                )
        options = entry.options(given)
    except OptionError as error:
        raise UsageError(
            f"{option(error.option)} {error.rule}. Received: {error.received}."
        ) from error
    for name in config.calibration_given():
        if options.CALIBRATED and not options.needs_calibration:
            key, value = options.CALIBRATED
            raise UsageError(
                f"{option(name)} is for {option(key)} {value}. "
                f"Received: {option(key)} {getattr(options, key)}."
            )
    return entry, options


def _takes(entry: ExportFormat, name: str) -> bool:
    options = entry.loaded.Options
    if name in CALIBRATION:
        return options.CALIBRATED is not None
    return name in {field.name for field in dataclasses.fields(options)}
