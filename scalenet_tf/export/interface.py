"""What the formats of exported models have in common: what they are given and give.

Imports neither TensorFlow nor NumPy by itself.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    import keras
    import numpy as np

    from scalenet_tf.preprocessing import EvaluationTransform


InputType = Literal["float32", "uint8"]
DEFAULT = "serving_default"  # the function of normalised images
SCORES = ("logits", "probabilities")  # outputs of a number for each class


class ExportError(ValueError):
    """What was given cannot be exported, or is not an export."""


class OptionError(ExportError):
    """An option of a format has a value that is not allowed.

    Args:
        option: Name of the option.
        rule: What it must be: `"must be at least 1"`.
        received: Its value.
    """

    def __init__(self, option: str, rule: str, received: object):
        super().__init__(f"`{option}` {rule}. Received: {option}={received!r}.")
        self.option, self.rule, self.received = option, rule, received


@dataclasses.dataclass(frozen=True)
class Exportable:
    """What is written, in whatever format.

    Attributes:
        model: A network of this package with its top.
        transform: What evaluation does to an image.
        class_names: Names of the classes, in the order of the logits.
        examples: Encoded images, for formats that keep some, as a warm-up.
        calibration: Batches of images as `preprocess_input` leaves them, which show the
            range of the activations; for options that ask for them.
        temperature: What logits are divided by for the probabilities; the logits that
            the export gives stay the network's own.
    """

    model: keras.Model
    transform: EvaluationTransform
    class_names: Sequence[str]
    examples: Sequence[bytes] = ()
    calibration: Iterable[Any] | None = None
    temperature: float = 1.0


@dataclasses.dataclass(frozen=True)
class FormatOptions:
    """Base of the options of a format: a dataclass whose fields have defaults.

    Raises:
        OptionError: A field with a `Literal` type has another value.
    """

    # The option, and its value, with which a format wants calibration images.
    CALIBRATED: ClassVar[tuple[str, object] | None] = None

    def __post_init__(self) -> None:
        for name, hint in typing.get_type_hints(type(self)).items():
            allowed = typing.get_args(hint)
            literal = typing.get_origin(hint) is typing.Literal
            if literal and getattr(self, name) not in allowed:
                raise OptionError(
                    name, f"must be one of {allowed}", getattr(self, name)
                )

    @property
    def label(self) -> str:
        """What is added to the name of the file, before its suffix."""
        return ""

    @property
    def needs_calibration(self) -> bool:
        """Whether `Exportable.calibration` must be given."""
        if self.CALIBRATED is None:
            return False
        name, value = self.CALIBRATED
        return getattr(self, name) == value


@dataclasses.dataclass(frozen=True)
class FileOptions(FormatOptions):
    """Options of formats whose models take images of one size.

    Attributes:
        input_type: `"float32"`: images as `preprocess_input` leaves them. `"uint8"`:
            pixels from 0 to 255, normalised inside.
    """

    input_type: InputType = "float32"

    @property
    def takes_pixels(self) -> bool:
        """Whether the model normalises."""
        return self.input_type == "uint8"


# From a batch, as the function takes it, to outputs by name.
Function = Callable[["np.ndarray"], Mapping[str, Any]]


def in_parts(run: Function, largest: Callable[[np.ndarray], int]) -> Function:
    """A function that takes more images than `run` does, `largest` of a batch."""
    import numpy as np

    def run_parts(values: np.ndarray) -> Mapping[str, Any]:
        most = largest(values)
        if len(values) <= most:
            return run(values)
        parts = [run(values[at : at + most]) for at in range(0, len(values), most)]
        return {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}

    return run_parts


class FormatModule(Protocol):
    """What the module of a format has."""

    Options: type[FormatOptions]

    def write(self, content: Exportable, path: str, options: Any) -> None:
        """Writes a model, as a whole or not at all.

        Raises:
            ExportError: The model or an option cannot be had in this format.
            MissingPackageError: A package that writes it is not installed.
            OSError: The disk cannot be written.
        """

    def read_metadata(self, path: str) -> dict[str, Any]:
        """Reads what `metadata.metadata` gave and `write` has kept with the model.

        Raises:
            Exception: It has none that can be read.
            MissingPackageError: A package that reads it is not installed.
        """

    def load(self, path: str, threads: int) -> Mapping[str, Function]:
        """Loads a model into its runtime: functions by name.

        `serving_default` gives `logits` and `probabilities` of images of any number.
        Others are verified only, and have the names that `requests.requests` gives.

        Raises:
            MissingPackageError: The runtime is not installed.
        """
