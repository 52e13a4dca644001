"""TensorFlow Serving's gRPC API over a folder of SavedModels, for tests.

`python tests/serving_grpc.py savedmodels --port 8500` serves until it is stopped.
"""

from concurrent import futures

import grpc
import tensorflow as tf
from serving_repository import Faults, RefusalError, command_line
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

# TensorFlow Serving takes messages of any size.
UNLIMITED = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A port that is taken is an error, not a second server beside the first.
    ("grpc.so_reuseport", 0),
]


class GrpcServer:
    """Serves a repository on a port of 127.0.0.1, in threads, until closed."""

    def __init__(self, repository, port=0, faults=None):
        self.faults = faults or Faults()
        self._server = grpc.server(futures.ThreadPoolExecutor(4), options=UNLIMITED)
        services = Prediction(repository, self.faults), Model(repository, self.faults)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            services[0], self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            services[1], self._server
        )
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    def close(self):
        self.faults.closed.set()
        self._server.stop(0).wait()


def where(spec):
    choice = spec.WhichOneof("version_choice")
    return {
        "name": spec.name,
        "version": spec.version.value if choice == "version" else None,
        "label": spec.version_label if choice == "version_label" else None,
    }


def answered(context, faults, empty, work):
    """What `work` gives, or the status that its refusal is."""
    try:
        return empty if faults.next() == "garbage" else work()
    except RefusalError as refusal:
        return context.abort(grpc.StatusCode[refusal.code], str(refusal))


class Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, repository, faults):
        self.repository = repository
        self.faults = faults

    def Predict(self, request, context):
        empty = predict_pb2.PredictResponse()
        return answered(context, self.faults, empty, lambda: self.predict(request))

    def GetModelMetadata(self, request, context):
        empty = get_model_metadata_pb2.GetModelMetadataResponse()
        return answered(context, self.faults, empty, lambda: self.describe(request))

    def predict(self, request):
        number, model = self.repository.find(**where(request.model_spec))
        signature = request.model_spec.signature_name or "serving_default"
        arrays = {name: tf.make_ndarray(x) for name, x in request.inputs.items()}
        outputs = model.run(signature, arrays)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = number
        response.model_spec.signature_name = signature
        for name in request.output_filter or outputs:
            if name not in outputs:
                raise RefusalError(
                    "INVALID_ARGUMENT",
                    f"output tensor alias not found in signature: {name}",
                )
            response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))
        return response

    def describe(self, request):
        if [*request.metadata_field] != ["signature_def"]:
            raise RefusalError(
                "INVALID_ARGUMENT",
                "GetModelMetadataRequest must specify at least one metadata_field",
            )
        number, model = self.repository.find(**where(request.model_spec))
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for key, definition in model.signature_def.items():
            signatures.signature_def[key].CopyFrom(definition)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = number
        response.metadata["signature_def"].Pack(signatures)
        return response


class Model(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, repository, faults):
        self.repository = repository
        self.faults = faults

    def GetModelStatus(self, request, context):
        empty = get_model_status_pb2.GetModelStatusResponse()
        return answered(context, self.faults, empty, lambda: self.status(request))

    def status(self, request):
        response = get_model_status_pb2.GetModelStatusResponse()
        for number in self.repository.available(**where(request.model_spec)):
            entry = response.model_version_status.add()
            entry.version = number
            entry.state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        return response


if __name__ == "__main__":
    command_line(
        __doc__,
        8500,
        GrpcServer,
        lambda port, name: f"grpc://127.0.0.1:{port}/{name}",
    )
