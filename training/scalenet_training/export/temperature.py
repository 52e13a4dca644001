"""The temperature of an export: a number, or that of an evaluation's report."""

from __future__ import annotations

import dataclasses
from typing import Any

from scalenet_tf.export.checking import check_temperature
from scalenet_training.data.sources import same_dataset
from scalenet_training.errors import SettingError
from scalenet_training.evaluate.report.facts import read_facts
from scalenet_training.export.config import is_number
from scalenet_training.networks.saved_network import SavedNetwork


@dataclasses.dataclass(frozen=True)
class Temperature:
    """What logits are divided by for probabilities.

    Attributes:
        value: From 0.01 to 100.
        fitted_to: `dataset`, `eval_split` and `examples` of the report that it is from,
            and its number of `classes`; None for a number that was given.
        trained_on: How many of these examples the network was trained on, by the
            report; None where it does not say.
        network: SHA-256 of the file of the network that was evaluated; None for an
            export, and in reports that do not say.
    """

    value: float = 1.0
    fitted_to: dict[str, Any] | None = None
    trained_on: int | None = None
    network: str | None = None

    def check(self, network: SavedNetwork, classes: int) -> None:
        """Checks that it was fitted to this network, on images new to it.

        Raises:
            SettingError: It was not.
        """
        if self.fitted_to is None:
            return
        own = self.fitted_to["classes"]
        if own != classes:
            raise _unfit(f"has {own} classes, and the network {classes}")
        if self.network is not None and self.network != network.digest:
            raise _unfit(f"is of another network or epoch than {network.path!r}")
        if self.trained_on:
            raise _unfit(
                f"is of {self.fitted_to['examples']:,} images, and the run was trained "
                f"on {self.trained_on:,} of them"
            )
        run = None if network.record is None else network.record.config
        fitted = self.fitted_to["dataset"], self.fitted_to["eval_split"]
        if run is not None and (
            same_dataset(fitted[0], run.dataset, run.data_dir)
            and fitted[1] == run.train_split
        ):
            raise _unfit("is of the images that the run was trained on")


def read_temperature(text: str | None) -> Temperature:
    """The temperature that a setting names: a number, or a report's.

    Raises:
        ValueError: It is no temperature, or there is none in the report.
        UsageError: The report cannot be read.
    """
    if text is None:
        return Temperature()
    found = Temperature(float(text)) if is_number(text) else _of_report(text)
    check_temperature(found.value)
    return found


def _of_report(path: str) -> Temperature:
    facts = read_facts(path)
    calibration = facts["calibration"]
    if calibration.get("applied_temperature", 1.0) != 1:
        raise _unfit(f"{path!r} is of an export that has a temperature itself")
    value = calibration.get("temperature")
    if value is None:
        raise _unfit(f"{path!r} has none that fits best")
    names = ("dataset", "eval_split", "examples", "classes")
    fitted_to = {name: facts[name] for name in names}
    seen, network = facts.get("trained_on"), facts.get("network_sha256")
    return Temperature(value, fitted_to, seen, network)


def _unfit(reason: str) -> SettingError:
    return SettingError(
        f"`temperature` must be one for this network: the report {reason}."
    )
