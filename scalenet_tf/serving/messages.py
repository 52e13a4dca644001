"""What a server says, without REST and gRPC."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from scalenet_tf.serving.errors import ServerFaultError, TopKError


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


def predictions(
    outputs: Mapping[str, Any], count: int, top_k: int | None, server: str
) -> list[Prediction]:
    """Reads the outputs of a classifying signature, nested lists, `count` rows each.

    Raises:
        ServerFaultError: They are not those of such a signature.
        TopKError: The model does not name as many classes as `top_k`.
    """
    keys = ("classes", "labels", "probabilities")
    try:
        rows = list(
            zip(
                *(outputs[key] for key in keys),
                outputs.get("valid", [True] * count),
                strict=True,
            )
        )
        named, of_all = len(rows[0][0]), len(rows[0][2])
        read = [_prediction(*row) for row in rows]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ServerFaultError(
            f"{server} did not answer with the outputs {', '.join(keys)} of the "
            f"{count} images: {error!r}."
        ) from error
    if len(rows) != count:
        raise ServerFaultError(
            f"{server} answered for {len(rows)} images where it was asked for {count}."
        )
    if top_k is not None and named < min(top_k, of_all):
        raise TopKError(
            f"`top_k` must be at most {named}: the model was exported to name that "
            f"many of its {of_all} classes. Received: top_k={top_k}."
        )
    return [_first(prediction, top_k) for prediction in read]


def _prediction(
    classes: Sequence[int],
    labels: Sequence[str],
    probabilities: Sequence[float],
    valid: bool,
) -> Prediction:
    if not valid:
        return INVALID
    values = tuple(float(probabilities[index]) for index in classes)
    return Prediction(tuple(labels), values, tuple(classes))


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
    return [
        VersionStatus(
            int(entry["version"]),
            entry["state"],
            entry.get("status", {}).get("error_code", "OK"),
            entry.get("status", {}).get("error_message", ""),
        )
        for entry in content["model_version_status"]
    ]


def model_metadata(content: Mapping[str, Any]) -> ModelMetadata:
    """Reads a GetModelMetadataResponse in its JSON form."""
    signatures = content["metadata"]["signature_def"]["signature_def"]
    return ModelMetadata(
        content["model_spec"]["name"],
        int(content["model_spec"]["version"]),
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
    sizes = (int(dimension["size"]) for dimension in content.get("dim", ()))
    return tuple(None if size < 0 else size for size in sizes)
