"""The Open Inference Protocol by HTTP: KServe's V2, as Triton and others speak it.

Images go as they are, by the protocol's extension for binary data; what comes back is
JSON. Of signatures it knows nothing: a server has the one that classifies encoded
images, `serving_bytes`.

Source: https://github.com/kserve/open-inference-protocol; the extension as of Triton,
server/docs/protocol/extension_binary_data.md.
"""

from __future__ import annotations

import contextlib
import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from scalenet_tf.serving.endpoint import Connection, Endpoint
from scalenet_tf.serving.errors import (
    ServerFaultError,
    SignatureNotFoundError,
    told,
)
from scalenet_tf.serving.exchange import HttpTransport
from scalenet_tf.serving.messages import UNREADABLE, check_model

SIGNATURE = "serving_bytes"
# Types of the protocol -> those of TensorFlow.
_DTYPES: Mapping[str, str] = MappingProxyType(
    {
        "BOOL": "DT_BOOL",
        "BYTES": "DT_STRING",
        "FP16": "DT_HALF",
        "FP32": "DT_FLOAT",
        "FP64": "DT_DOUBLE",
        "INT32": "DT_INT32",
        "INT64": "DT_INT64",
        "UINT8": "DT_UINT8",
    }
)
_VERSION = re.compile("[0-9]{1,18}")
_MOST_VERSIONS = 16  # whose state is asked for, one after the other


class OpenInferenceTransport(HttpTransport):
    """One model by the Open Inference Protocol; arguments as of `HttpTransport`."""

    api = "a server of the Open Inference Protocol"

    def __init__(self, endpoint: Endpoint, connection: Connection, batch_size: int):
        super().__init__(endpoint, connection, batch_size)
        self._ranks: dict[str, int] = {}

    def predict(
        self,
        signature: str,
        input_name: str,
        images: Sequence[bytes],
        outputs: Sequence[str],
    ) -> dict[str, Any]:
        """Outputs of the model for encoded images, as nested lists.

        Raises:
            SignatureNotFoundError: Another signature than `serving_bytes` is asked for.
        """
        server = self._endpoint.server
        if signature != SIGNATURE:
            raise SignatureNotFoundError(
                f"{server} speaks the Open Inference Protocol, which has no "
                f"signatures: `signature` must be {SIGNATURE!r}. Received: "
                f"{signature!r}."
            )
        head, data = _request(input_name, self._rank(input_name), images)
        headers = {
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(head)),
        }
        answer = self._exchange.post("/infer", head + data, len(images), headers)
        check_model(
            self._endpoint, answer.get("model_name"), answer.get("model_version")
        )
        with self._reading():
            named = {entry["name"]: entry for entry in answer["outputs"]}
            return {
                name: _nested(named[name], len(images))
                for name in outputs
                if name in named
            }

    def status(self) -> dict[str, Any]:
        """The JSON form of a GetModelStatusResponse: of the 16 latest versions at most.

        A version is `AVAILABLE` or, where it is not ready for whatever reason,
        `LOADING`: the protocol tells no more.
        """
        content = self._described()
        if self._endpoint.version is not None:
            verbs = {self._endpoint.version: "/ready"}
        else:
            with self._reading():
                verbs = {
                    version: f"/versions/{version}/ready" if version else "/ready"
                    for version in _versions(content)
                }
        return {
            "model_version_status": [
                {"version": version, "state": self._state(verb)}
                for version, verb in verbs.items()
            ]
        }

    def metadata(self) -> dict[str, Any]:
        """The JSON form of a GetModelMetadataResponse."""
        content = self._described()
        version = self._endpoint.version
        with self._reading():
            signature = {
                part: {entry["name"]: _tensor_info(entry) for entry in content[part]}
                for part in ("inputs", "outputs")
            }
            if version is None:
                version = _versions(content)[0]
            spec = {"name": content["name"], "version": version}
        return {
            "model_spec": spec,
            "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
        }

    def _described(self) -> dict[str, Any]:
        """What the server says of the model."""
        content = self._exchange.get("")
        # Its versions are all that there are, whichever was asked for.
        check_model(self._endpoint, content.get("name"), None)
        return content

    def _state(self, verb: str) -> str:
        return "AVAILABLE" if self._exchange.is_ready(verb) else "LOADING"

    def _rank(self, input_name: str) -> int:
        """Dimensions of the input: Triton's batches have one more than TensorFlow's."""
        if input_name not in self._ranks:
            content = self._described()
            with self._reading():
                named = {entry["name"]: entry for entry in content["inputs"]}
                self._ranks[input_name] = len(named[input_name]["shape"])
        return self._ranks[input_name]

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """What is met in a message of another form is the server's fault."""
        try:
            yield
        except UNREADABLE as error:
            raise ServerFaultError(
                f"{self._endpoint.server} answered with a message that is not of the "
                "Open Inference Protocol, or not of a model that classifies encoded "
                f"images: {told(repr(error))}."
            ) from error


def _versions(content: Mapping[str, Any]) -> list[int]:
    """Versions that a server names, the latest first; 0 where it has none."""
    named = content.get("versions")
    if not named:
        return [0]
    if not isinstance(named, list) or not all(
        isinstance(name, str) and _VERSION.fullmatch(name) for name in named
    ):
        raise ValueError(f"versions {named!r}")
    return sorted({int(name) for name in named}, reverse=True)[:_MOST_VERSIONS]


def _request(
    input_name: str, rank: int, images: Sequence[bytes]
) -> tuple[bytes, bytes]:
    """Head and data of a request; each image has its length before it."""
    data = b"".join(struct.pack("<I", len(image)) + image for image in images)
    one = {
        "name": input_name,
        "datatype": "BYTES",
        "shape": [len(images)] + [1] * (rank - 1),
        "parameters": {"binary_data_size": len(data)},
    }
    return json.dumps({"inputs": [one]}).encode(), data


def _nested(output: Mapping[str, Any], count: int) -> list[Any]:
    """An output of so many images as nested lists, of the shape and the data."""
    shape, data = output["shape"], output["data"]
    if not isinstance(data, list) or not all(type(side) is int for side in shape):
        raise ValueError(f"{output['name']!r} has no list of data, or no shape")
    if data and isinstance(data[0], list):  # the protocol allows both
        data = [value for row in data for value in row]
    rows, width = (*shape, 1)[:2]
    if not 1 <= len(shape) <= 2 or rows != count or rows * width != len(data):
        raise ValueError(f"{len(data)} data of {output['name']!r} of shape {shape}")
    # A number or truth for each image: Triton's batches give it a dimension.
    if len(shape) == 1 or (output["name"] == "valid" and width == 1):
        return data
    return [data[row * width : (row + 1) * width] for row in range(rows)]


def _tensor_info(entry: Mapping[str, Any]) -> dict[str, Any]:
    sides = [{"size": side} for side in entry["shape"]]
    dtype = _DTYPES.get(entry["datatype"], "DT_INVALID")
    return {"dtype": dtype, "tensor_shape": {"dim": sides}}
