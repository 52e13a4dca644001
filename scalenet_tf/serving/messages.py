"""What a server says, without REST and gRPC."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scalenet_tf.serving.endpoint import Endpoint
from scalenet_tf.serving.errors import ServerFaultError, TopKError, told

_VALID = "valid"
OUTPUTS = ("classes", "labels", "probabilities", _VALID)
# What reading a message of another form ends in.
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
_ROUNDING = 1e-6


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The likeliest classes of an image, from the likeliest down.

    Attributes:
        names: Their names.
        probabilities: Their probabilities, from 0 to 1.
        classes: Their numbers.
        valid: Whether the image could be decoded; where not, the rest is empty.
    """

    names: tuple[str, ...]
    probabilities: tuple[float, ...]
    classes: tuple[int, ...]
    valid: bool = True


INVALID = Prediction((), (), (), valid=False)


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """The state of a version of a model.

    Attributes:
        version: Its number.
        state: `"START"`, `"LOADING"`, `"AVAILABLE"`, `"UNLOADING"` or `"END"`.
        error_code: `"OK"`, or the name of what went wrong.
        error_message: More of it.
    """

    version: int
    state: str
    error_code: str
    error_message: str


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """Type, as `"DT_FLOAT"`, and shape of a tensor; `None` for a free dimension."""

    dtype: str
    shape: tuple[int | None, ...] | None


@dataclasses.dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a signature, by name."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclasses.dataclass(frozen=True)
class ModelMetadata:
    """What a server knows of a model: name, version, signatures by name."""

    name: str
    version: int
    signatures: Mapping[str, Signature]


def check_model(endpoint: Endpoint, name: Any, version: Any) -> None:
    """Compares the model that an answer is of with the one that was asked for.

    Args:
        endpoint: What was asked for.
        name: Name in the answer; `None`, or empty, where it tells none.
        version: Likewise, as a number or a text.

    Raises:
        ServerFaultError: It is another one.
    """
    told_version = None if version in (None, "") else str(version)
    asked = None if endpoint.version is None else str(endpoint.version)
    for what, received, wanted in (
        ("model", name or None, endpoint.name),
        ("version", told_version, asked),
    ):
        if received is not None and wanted is not None and received != wanted:
            raise ServerFaultError(
                f"{endpoint.server} answered with {what} {told(str(received))!r} where "
                f"{what} {wanted!r} was asked for."
            )


def predictions(
    outputs: Mapping[str, Any], count: int, top_k: int | None, server: str
) -> list[Prediction]:
    """Reads the outputs of a classifying signature: lists or arrays, one row per image.

    Raises:
        ServerFaultError: They are not those of such a signature.
        TopKError: The model does not name as many classes as `top_k`.
    """
    try:
        classes, labels, probabilities, valid = (
            _rows(outputs, name, count) for name in OUTPUTS
        )
        rows = zip(classes, labels, probabilities, valid, strict=True)
        read = [_prediction(*row) for row in rows]
        named, of_all = len(classes[0]), len(probabilities[0])
    except UNREADABLE as error:
        raise ServerFaultError(
            f"{server} did not answer with the outputs {', '.join(OUTPUTS[:3])} of the "
            f"{count} images: {told(str(error))}."
        ) from error
    if top_k is not None and named < min(top_k, of_all):
        raise TopKError(
            f"`top_k` must be at most {named}: the model was exported to name that "
            f"many of its {of_all} classes. Received: top_k={top_k}."
        )
    return [_first(prediction, top_k) for prediction in read]


def _rows(outputs: Mapping[str, Any], name: str, count: int) -> Sequence[Any]:
    """An output, one entry per image."""
    rows = [True] * count if name == _VALID else None
    rows = outputs.get(name, rows)
    if not isinstance(rows, list | np.ndarray):
        raise ValueError(f"no list of {name}")
    if np.ndim(rows) == 0 or len(rows) != count:
        raise ValueError(f"{name} of other than {count} images")
    return rows


def _prediction(
    classes: Any, labels: Any, probabilities: Any, valid: Any
) -> Prediction:
    if not isinstance(valid, bool | np.bool_):
        raise ValueError(f"{valid!r} where true or false is due")
    if not valid:
        return INVALID
    of_all = _numbers(probabilities)
    if not (of_all >= 0).all() or not (of_all <= 1 + _ROUNDING).all():
        raise ValueError("probabilities that are not from 0 to 1")
    chosen = _entries(classes, int)
    names = tuple(_text(label) for label in _entries(labels, str, bytes))
    if not 1 <= len(chosen) == len(names):
        raise ValueError(f"{len(names)} labels of {len(chosen)} classes")
    if len({*chosen}) != len(chosen) or not all(0 <= c < len(of_all) for c in chosen):
        raise ValueError(f"classes {chosen[:9]} of {len(of_all)}")
    values = of_all[chosen]
    if (np.diff(values) > _ROUNDING).any():
        raise ValueError("classes that do not go from the likeliest down")
    return Prediction(names, tuple(values.tolist()), tuple(chosen))


def _numbers(row: Any) -> np.ndarray:
    """A row of numbers; as a list it may hold what numpy would turn into numbers."""
    if not isinstance(row, np.ndarray):
        row = np.array(_entries(row, int, float), np.float64)
    if row.ndim != 1 or row.dtype == object or row.dtype.kind == "b":
        raise ValueError("probabilities that are not numbers")
    return row.astype(np.float64)


def _entries(row: Any, *kinds: type) -> list[Any]:
    """A row as a list whose entries are of one of these types, and of no subtype."""
    if isinstance(row, np.ndarray):
        row = row.tolist()
    if not isinstance(row, list):
        raise ValueError("an entry where a list is due")
    others = {type(entry) for entry in row} - {*kinds}
    if others:
        raise ValueError(f"{others.pop().__name__} where {kinds[0].__name__} is due")
    return row


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _first(prediction: Prediction, count: int | None) -> Prediction:
    return dataclasses.replace(
        prediction,
        names=prediction.names[:count],
        probabilities=prediction.probabilities[:count],
        classes=prediction.classes[:count],
    )


def statuses(content: Mapping[str, Any]) -> list[VersionStatus]:
    """Reads a GetModelStatusResponse in its JSON form.

    Raises:
        ValueError: It has no version; of an unknown model there is none.
    """
    if not content["model_version_status"]:
        raise ValueError("no version in a status")
    return [_status(entry) for entry in content["model_version_status"]]


def _status(entry: Mapping[str, Any]) -> VersionStatus:
    status = entry.get("status", {})
    texts = (
        entry["state"],
        status.get("error_code", "OK"),
        status.get("error_message", ""),
    )
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"state and error are texts, not {texts}")
    state, code, message = map(told, texts)
    return VersionStatus(_whole(entry["version"]), state, code, message)


def _whole(value: Any) -> int:
    """A whole number, which JSON's form of protocol buffers has as a text."""
    if isinstance(value, str) or type(value) is int:
        return int(value)
    raise ValueError(f"{value!r} is no whole number")


def model_metadata(content: Mapping[str, Any]) -> ModelMetadata:
    """Reads a GetModelMetadataResponse in its JSON form.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: It is not one.
    """
    signatures = content["metadata"]["signature_def"]["signature_def"]
    spec = content["model_spec"]
    if not isinstance(spec["name"], str):
        raise ValueError(f"a name of a model is a text, not {spec['name']!r}")
    return ModelMetadata(
        spec["name"],
        _whole(spec["version"]),
        {
            name: Signature(_tensors(entry["inputs"]), _tensors(entry["outputs"]))
            for name, entry in signatures.items()
            if entry.get("inputs")  # without: a function that the server itself calls
        },
    )


def _tensors(content: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(info["dtype"], _shape(info.get("tensor_shape", {})))
        for name, info in content.items()
    }


def _shape(content: Mapping[str, Any]) -> tuple[int | None, ...] | None:
    if content.get("unknown_rank"):
        return None
    sizes = (_whole(dimension["size"]) for dimension in content.get("dim", ()))
    return tuple(None if size < 0 else size for size in sizes)
