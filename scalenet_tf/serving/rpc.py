"""TensorFlow Serving's gRPC API, by its published messages and stubs.

Source: https://github.com/tensorflow/serving, tensorflow_serving/apis/*.proto.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from scalenet_tf.extras import import_extra
from scalenet_tf.serving.endpoint import CLIENT, Endpoint
from scalenet_tf.serving.errors import (
    ModelNotFoundError,
    ServerFaultError,
    ServerTimeoutError,
    ServerUnavailableError,
    ServingError,
    refused,
)

# What a protocol buffer can be at most; gRPC refuses answers above 4 MB otherwise.
_MESSAGE_BYTES = 2**31 - 1
_APIS = "tensorflow_serving.apis"


class GrpcTransport:
    """One model by gRPC, over a channel that is kept open.

    Args:
        endpoint: The model.
        timeout: Seconds until the end of a call.

    Raises:
        ImportError: grpcio or tensorflow-serving-api is not installed.
    """

    def __init__(self, endpoint: Endpoint, timeout: float):
        self._grpc = import_extra("grpc", "grpcio", "serving", CLIENT)
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
        self._timeout = timeout
        self._channel = self._grpc.insecure_channel(
            endpoint.address,
            options=[
                ("grpc.max_send_message_length", _MESSAGE_BYTES),
                ("grpc.max_receive_message_length", _MESSAGE_BYTES),
                # Attempts of the client must not all meet one failed connection.
                ("grpc.initial_reconnect_backoff_ms", 100),
            ],
        )
        prediction = modules["prediction_service_pb2_grpc"]
        self._prediction = prediction.PredictionServiceStub(self._channel)
        self._model = modules["model_service_pb2_grpc"].ModelServiceStub(self._channel)

    def predict(
        self, signature: str, input_name: str, images: Sequence[bytes]
    ) -> dict[str, Any]:
        """The outputs of a signature for encoded images, as nested lists."""
        request = self._predict_pb2.PredictRequest()
        self._specify(request.model_spec)
        request.model_spec.signature_name = signature
        tensor = tf.make_tensor_proto(list(images), tf.string, [len(images)])
        request.inputs[input_name].CopyFrom(tensor)
        response = self._call(self._prediction.Predict, request)
        return {name: _lists(proto) for name, proto in response.outputs.items()}

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
        response.metadata["signature_def"].Unpack(signatures)
        return {
            "model_spec": _json_form(response.model_spec),
            "metadata": {"signature_def": _json_form(signatures)},
        }

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _specify(self, model_spec: Any) -> None:
        model_spec.name = self._endpoint.name
        if self._endpoint.version is not None:
            model_spec.version.value = self._endpoint.version
        if self._endpoint.label is not None:
            model_spec.version_label = self._endpoint.label

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        try:
            return method(request, timeout=self._timeout)
        except self._grpc.RpcError as error:
            raise self._error(error.code().name, error.details()) from error

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
                f"{server} did not answer within {self._timeout:g} s.",
            ),
        }
        fault = (ServerFaultError, f"{server} answered {code}: {details}")
        kind, text = known.get(code, fault)
        return kind(text)


def _lists(proto: Any) -> Any:
    array = tf.make_ndarray(proto)
    if array.dtype == object:  # bytes, which JSON has as text too
        flat = [data.decode("utf-8", "replace") for data in array.flat]
        array.flat = flat
    return array.tolist()


def _json_form(message: Any) -> dict[str, Any]:
    from google.protobuf import json_format

    return json_format.MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
