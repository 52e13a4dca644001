"""TensorFlow Serving's gRPC API, by its published messages and stubs.

Source: https://github.com/tensorflow/serving, tensorflow_serving/apis/*.proto.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scalenet_tf.extras import import_extra
from scalenet_tf.serving.endpoint import CLIENT, Connection, Endpoint, largest_answer
from scalenet_tf.serving.errors import (
    ModelNotFoundError,
    ServerFaultError,
    ServerTimeoutError,
    ServerUnavailableError,
    ServingError,
    closed,
    refused,
    told,
)
from scalenet_tf.serving.messages import check_model

_REQUEST_BYTES = 2**31 - 1  # what a protocol buffer can be at most
_MOST_AXES = 2  # of an output: images, classes
_READABLE = (
    *("float16", "bfloat16", "float32", "float64"),
    *("int32", "int64", "bool", "string"),
)
_APIS = "tensorflow_serving.apis"


class GrpcTransport:
    """One model by gRPC, over a channel that is kept open.

    Args:
        endpoint: The model.
        connection: Time-out, headers, certificates.
        batch_size: Images in a request at most.

    Raises:
        ImportError: grpcio or tensorflow-serving-api is not installed.
        ValueError: The file of certificates cannot be read.
    """

    def __init__(self, endpoint: Endpoint, connection: Connection, batch_size: int):
        self._grpc = import_extra("grpc", "grpcio", "serving", CLIENT)
        self._decode_error = import_extra(
            "google.protobuf.message", "protobuf", "serving", CLIENT
        ).DecodeError
        modules = {
            name: import_extra(
                f"{_APIS}.{name}", "tensorflow-serving-api", "serving", CLIENT
            )
            for name in (
                "get_model_metadata_pb2",
                "get_model_status_pb2",
                "model_service_pb2_grpc",
                "predict_pb2",
                "prediction_service_pb2_grpc",
            )
        }
        self._predict_pb2 = modules["predict_pb2"]
        self._status_pb2 = modules["get_model_status_pb2"]
        self._metadata_pb2 = modules["get_model_metadata_pb2"]
        self._endpoint = endpoint
        self._connection = connection
        self._closed = False
        self._most = largest_answer(batch_size)
        self._channel = self._open()
        prediction = modules["prediction_service_pb2_grpc"]
        self._prediction = prediction.PredictionServiceStub(self._channel)
        self._model = modules["model_service_pb2_grpc"].ModelServiceStub(self._channel)

    def _open(self) -> Any:
        options = [
            # Else all clients of a process share one connection.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_send_message_length", _REQUEST_BYTES),
            ("grpc.max_receive_message_length", self._most),
            # Attempts of the client must not all meet one failed connection.
            ("grpc.initial_reconnect_backoff_ms", 100),
        ]
        address, ca_file = self._endpoint.address, self._connection.ca_file
        if not self._endpoint.is_secure:
            return self._grpc.insecure_channel(address, options)
        trusted = None
        if ca_file is not None:
            with open(ca_file, "rb") as file:
                trusted = file.read()
        credentials = self._grpc.ssl_channel_credentials(trusted)
        return self._grpc.secure_channel(address, credentials, options)

    def predict(
        self,
        signature: str,
        input_name: str,
        images: Sequence[bytes],
        outputs: Sequence[str],
    ) -> dict[str, Any]:
        """Outputs of a signature for encoded images, as arrays."""
        import tensorflow as tf

        request = self._predict_pb2.PredictRequest()
        self._specify(request.model_spec)
        request.model_spec.signature_name = signature
        tensor = tf.make_tensor_proto(list(images), tf.string, [len(images)])
        request.inputs[input_name].CopyFrom(tensor)
        response = self._call(self._prediction.Predict, request)
        self._check(response.model_spec)
        return {
            name: self._array(name, response.outputs[name])
            for name in outputs
            if name in response.outputs
        }

    def status(self) -> dict[str, Any]:
        """The JSON form of a GetModelStatusResponse."""
        request = self._status_pb2.GetModelStatusRequest()
        self._specify(request.model_spec)
        return _json_form(self._call(self._model.GetModelStatus, request))

    def metadata(self) -> dict[str, Any]:
        """The JSON form of a GetModelMetadataResponse."""
        request = self._metadata_pb2.GetModelMetadataRequest()
        self._specify(request.model_spec)
        request.metadata_field.append("signature_def")
        response = self._call(self._prediction.GetModelMetadata, request)
        signatures = self._metadata_pb2.SignatureDefMap()
        try:
            found = response.metadata["signature_def"].Unpack(signatures)
        except self._decode_error:
            found = False
        if not found:
            raise ServerFaultError(
                f"{self._endpoint.server} answered without the signatures of the model."
            )
        return {
            "model_spec": _json_form(response.model_spec),
            "metadata": {"signature_def": _json_form(signatures)},
        }

    def close(self) -> None:
        """Closes the channel; who waits for an answer gets an error."""
        self._closed = True
        self._channel.close()

    def _specify(self, model_spec: Any) -> None:
        model_spec.name = self._endpoint.name
        if self._endpoint.version is not None:
            model_spec.version.value = self._endpoint.version
        if self._endpoint.label is not None:
            model_spec.version_label = self._endpoint.label

    def _check(self, model_spec: Any) -> None:
        """Compares the model of an answer with the one that was asked for."""
        is_told = model_spec.WhichOneof("version_choice") == "version"
        version = model_spec.version.value if is_told else None
        check_model(self._endpoint, model_spec.name, version)

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        metadata = [(k.lower(), v) for k, v in self._connection.headers.items()]
        try:
            return method(request, timeout=self._connection.timeout, metadata=metadata)
        except (ValueError, self._grpc.RpcError) as error:
            if self._closed:  # grpcio: a ValueError, or the status CANCELLED
                raise closed(self._endpoint.server) from error
            if isinstance(error, ValueError):
                raise
            raise self._error(error.code().name, told(error.details())) from error

    def _array(self, name: str, proto: Any) -> np.ndarray:
        """An output, once its type and its shape are known to be what they may be."""
        import tensorflow as tf

        readable = {tf.dtypes.as_dtype(kind).as_datatype_enum for kind in _READABLE}
        sizes = [dimension.size for dimension in proto.tensor_shape.dim]
        # A value may stand for all: a few bytes for gigabytes.
        fits = (
            proto.dtype in readable
            and not proto.tensor_shape.unknown_rank
            and len(sizes) <= _MOST_AXES
            and all(0 <= size <= self._most for size in sizes)
            and math.prod(sizes) <= self._most
        )
        try:
            if fits:
                return tf.make_ndarray(proto)
            reason = f"type {proto.dtype}, sizes {sizes[:_MOST_AXES]}"
        except (TypeError, ValueError, OverflowError) as error:
            reason = told(str(error))
        raise ServerFaultError(
            f"{self._endpoint.server} answered with an output {name!r} that cannot be "
            f"read: {reason}."
        )

    def _error(self, code: str, details: str) -> ServingError:
        server = self._endpoint.server
        if code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE"):
            return refused(server, details)
        known = {
            "NOT_FOUND": (ModelNotFoundError, f"{server} answered {code}: {details}"),
            "UNAVAILABLE": (
                ServerUnavailableError,
                f"{server} is unavailable: {details}",
            ),
            "DEADLINE_EXCEEDED": (
                ServerTimeoutError,
                f"{server} did not answer within {self._connection.timeout:g} s.",
            ),
        }
        fault = (ServerFaultError, f"{server} answered {code}: {details}")
        kind, text = known.get(code, fault)
        return kind(text)


def _json_form(message: Any) -> dict[str, Any]:
    from google.protobuf import json_format

    return json_format.MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
