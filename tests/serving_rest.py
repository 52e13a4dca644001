"""TensorFlow Serving's REST API over a folder of SavedModels, for tests.

`python tests/serving_rest.py savedmodels --port 8501` serves until it is stopped.
"""

import base64
import binascii
import http.server
import json
import re
import threading
import urllib.parse

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from serving_repository import Faults, RefusalError, command_line
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2

# As TensorFlow Serving's http_server translates the codes.
HTTP_CODES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "NOT_FOUND": 404,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
MODEL = r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
PREDICT = re.compile(f"{MODEL}:predict", re.IGNORECASE)
STATUS = re.compile(f"{MODEL}(/metadata)?", re.IGNORECASE)


class RestServer:
    """Serves a repository on a port of 127.0.0.1, in a thread, until closed."""

    def __init__(self, repository, port=0, faults=None, handler=None):
        self.faults = faults or Faults()
        self.repository = repository
        handler = type("BoundHandler", (handler or Handler,), {"owner": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}
        )
        self._thread.start()

    def close(self):
        self.faults.closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Handler(http.server.BaseHTTPRequestHandler):
    owner: RestServer
    prefix = "/v1/"
    protocol_version = "HTTP/1.1"
    timeout = 60
    wbufsize = -1  # headers and body in one packet

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.answer("GET", STATUS, self.get)

    def do_POST(self):
        self.answer("POST", PREDICT, self.predict)

    def answer(self, verb, pattern, work):
        # Read whole, or what is left of it is taken for the next request.
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.path.lower().startswith(self.prefix):
            return self.write(404, b"Not Found", "text/plain")
        try:
            if self.owner.faults.next() == "garbage":
                return self.write(200, b"<html>a proxy</html>", "text/html")
            match = pattern.fullmatch(self.path)
            if not match:
                raise RefusalError(
                    "INVALID_ARGUMENT", f"Malformed request: {verb} {self.path}"
                )
            content, code = work(*self.where(*match.groups(), body=body)), 200
        except RefusalError as refusal:
            content = {"error": str(refusal)}
            code = HTTP_CODES.get(refusal.code, 500)
        return self.write(code, json.dumps(content, indent=4).encode())

    def where(self, name, version, label, *rest, body):
        place = {
            "name": urllib.parse.unquote(name),
            "version": int(version) if version else None,
            "label": urllib.parse.unquote(label) if label else None,
        }
        return place, body, *rest

    def write(self, code, body, kind="application/json"):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def get(self, where, body, metadata):
        if metadata:
            return describe(where["name"], *self.owner.repository.find(**where))
        status = {"error_code": "OK", "error_message": ""}
        return {
            "model_version_status": [
                {"version": str(number), "state": "AVAILABLE", "status": status}
                for number in self.owner.repository.available(**where)
            ]
        }

    def predict(self, where, body):
        request = parsed(body)
        signature = request.get("signature_name") or "serving_default"
        if not isinstance(signature, str):
            raise RefusalError(
                "INVALID_ARGUMENT", "'signature_name' key must be a string value."
            )
        model = self.owner.repository.find(**where)[1]
        specs = model.inputs(signature)
        if specs is None:
            raise RefusalError(
                "INVALID_ARGUMENT",
                f'Serving signature name: "{signature}" not found in signature def',
            )
        columns = columnar(request, specs)
        arrays = {
            name: tensor(values, specs[name].dtype) for name, values in columns.items()
        }
        results = model.run(signature, arrays)
        outputs = {name: readable(array) for name, array in results.items()}
        only = next(iter(outputs.values())) if len(outputs) == 1 else None
        if "inputs" in request:
            return {"outputs": outputs if only is None else only}
        rows = zip(*outputs.values(), strict=True)
        named = [dict(zip(outputs, row, strict=True)) for row in rows]
        return {"predictions": named if only is None else only}


def parsed(body):
    try:
        request = json.loads(body)
    except ValueError as error:
        raise RefusalError("INVALID_ARGUMENT", f"JSON Parse error: {error}") from error
    if not isinstance(request, dict):
        raise RefusalError("INVALID_ARGUMENT", "JSON Value: Is not object")
    given = [key for key in ("instances", "inputs") if key in request]
    if len(given) != 1:
        raise RefusalError(
            "INVALID_ARGUMENT",
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys"
            if given
            else "Missing 'inputs' or 'instances' key",
        )
    return request


def is_binary(value):
    return isinstance(value, dict) and [*value] == ["b64"]


def columnar(request, specs):
    """{input: nested list}, of both formats."""
    if "inputs" in request:
        value = request["inputs"]
        if isinstance(value, dict) and not is_binary(value):
            columns = value
        elif len(specs) == 1:
            columns = dict.fromkeys(specs, value)
        else:
            columns = {}
    else:
        rows = request["instances"]
        if not isinstance(rows, list) or not rows:
            raise RefusalError("INVALID_ARGUMENT", "No values in 'instances' array")
        if isinstance(rows[0], dict) and not is_binary(rows[0]):
            if not all(isinstance(row, dict) for row in rows):
                raise RefusalError("INVALID_ARGUMENT", "JSON Value: Is not object")
            columns = {name: [row.get(name) for row in rows] for name in rows[0]}
        else:
            columns = dict.fromkeys(specs, rows)
    for name in specs:
        if name not in columns:
            raise RefusalError(
                "INVALID_ARGUMENT", f"Missing named input: {name} in 'inputs' object."
            )
    return {name: columns[name] for name in specs}


def tensor(values, dtype):
    try:
        decoded = decode(values)
        return np.array(decoded, object if dtype == "string" else dtype.as_numpy_dtype)
    except (binascii.Error, OverflowError, TypeError, ValueError) as error:
        raise RefusalError("INVALID_ARGUMENT", f"JSON Value: {error}") from error


def decode(value):
    if isinstance(value, list):
        return [decode(entry) for entry in value]
    if is_binary(value):
        return base64.b64decode(value["b64"], validate=True)
    return value.encode() if isinstance(value, str) else value


def readable(array):
    if array.dtype != object:
        return array.tolist()
    if array.ndim == 0:
        return array.item().decode()
    return [readable(np.asarray(entry, object)) for entry in array]


def dtype_name(dtype):
    """`DT_FLOAT` and so on."""
    return types_pb2.DataType.Name(tf.as_dtype(dtype).as_datatype_enum)


def describe(name, number, model):
    """The JSON form of a GetModelMetadataResponse."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for key, definition in model.signature_def.items():
        signatures.signature_def[key].CopyFrom(definition)
    content = json_format.MessageToDict(
        signatures,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    spec = {"name": name, "signature_name": "", "version": str(number)}
    return {"model_spec": spec, "metadata": {"signature_def": content}}


if __name__ == "__main__":
    command_line(
        __doc__,
        8501,
        RestServer,
        lambda port, name: f"http://127.0.0.1:{port}/v1/models/{name}",
    )
