"""Servers that do what no server should, for tests of the client.

A behaviour of a REST server is a function of the connection, once the request is read;
one of a gRPC server is a function of the call's context that gives the answer's bytes.
"""

import contextlib
import json
import pathlib
import socket
import threading
import time
from concurrent import futures

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
)

LONGEST = 8.0  # seconds after which a behaviour ends by itself
RIGHT = {"classes": [[1, 0]], "labels": [["b", "a"]], "probabilities": [[0.25, 0.75]]}
MEGABYTE = 2**20


# Certificate and key of a server at 127.0.0.1, which signs itself.
PEM = pathlib.Path(__file__).parent / "data" / "server_for_tests.pem"

# REST


@contextlib.contextmanager
def rest_server(behaviour, tls=None, lines=None):
    """The port of a server, and the requests that it has got.

    `lines` gets each line of their headers, as it came.
    """
    seen = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection):
        with connection, contextlib.suppress(OSError, ValueError):
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            stream = connection.makefile("rb")
            line = stream.readline()
            heads = [head.decode().strip() for head in iter(stream.readline, b"\r\n")]
            if lines is not None:
                lines.extend(heads)
            headers = dict(head.lower().split(": ", 1) for head in heads)
            body = stream.read(int(headers.get("content-length", 0)))
            seen.append((line.decode().strip(), headers, body))
            behaviour(connection)
            connection.shutdown(socket.SHUT_WR)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listening.getsockname()[1], seen
    finally:
        listening.close()


def http(body=b"", code=200, **headers):
    """An answer as its bytes."""
    headers = {"Content-Length": len(body)} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {code} X\r\n{lines}\r\n".encode() + body


def sends(data):
    return lambda connection: connection.sendall(data)


def answers(value, code=200, **headers):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return sends(http(body, code, **headers))


def outputs(**changes):
    return answers({"outputs": RIGHT | changes})


def silent(_):
    time.sleep(LONGEST)


def drips(head, piece, pause=0.2):
    def behaviour(connection):
        connection.sendall(head)
        end = time.monotonic() + LONGEST
        while time.monotonic() < end:
            connection.sendall(piece)
            time.sleep(pause)

    return behaviour


def floods(megabytes, code=200, piece=b" "):
    def behaviour(connection):
        connection.sendall(http(code=code, Content_Length=megabytes * MEGABYTE))
        for _ in range(megabytes):
            connection.sendall(piece * MEGABYTE)

    return behaviour


# gRPC

_TENSORS = {
    "classes": np.array([[1, 0]], np.int32),
    "labels": np.array([[b"b", b"a"]], object),
    "probabilities": np.array([[0.25, 0.75]], np.float32),
    "valid": np.array([True]),
}


def response(**changes):
    """A PredictResponse: `None` leaves an output out, others are as they are given."""
    message = predict_pb2.PredictResponse()
    for name, value in (_TENSORS | changes).items():
        if value is not None:
            is_proto = isinstance(value, tf.make_tensor_proto(0).__class__)
            proto = value if is_proto else tf.make_tensor_proto(np.asarray(value))
            message.outputs[name].CopyFrom(proto)
    return message


def proto(name, **changes):
    """An output's message, changed."""
    message = tf.make_tensor_proto(_TENSORS[name])
    if "sizes" in changes:
        del message.tensor_shape.dim[:]
        for size in changes["sizes"]:
            message.tensor_shape.dim.add(size=size)
    if changes.get("unknown_rank"):
        del message.tensor_shape.dim[:]
        message.tensor_shape.unknown_rank = True
    if "dtype" in changes:
        message.dtype = changes["dtype"]
    if "content" in changes:
        message.tensor_content = changes["content"]
    return message


def status(*entries):
    """A GetModelStatusResponse of (version, state)."""
    message = get_model_status_pb2.GetModelStatusResponse()
    for version, state in entries:
        message.model_version_status.add(version=version, state=state)
    return message


def metadata(packed=None):
    """A GetModelMetadataResponse."""
    message = get_model_metadata_pb2.GetModelMetadataResponse()
    message.model_spec.name = "m"
    message.model_spec.version.value = 1
    if packed is not None:
        message.metadata["signature_def"].CopyFrom(packed)
    return message


def gives(message):
    """The behaviour of a server that answers with a message, or with bytes."""
    data = message if isinstance(message, bytes) else message.SerializeToString()
    return lambda context: data


def aborts(code, details="hush"):
    return lambda context: context.abort(code, details)


def sleeps(context):
    time.sleep(LONGEST)
    return b""


@contextlib.contextmanager
def grpc_server(behaviour, credentials=None):
    """The port of a server that answers every call in one way."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(
                lambda request, context: behaviour(context)
            )

    server = grpc.server(
        futures.ThreadPoolExecutor(2),
        handlers=[Handler()],
        options=[("grpc.max_send_message_length", -1)],
    )
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(0)
