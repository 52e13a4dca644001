"""The Open Inference Protocol by HTTP over a folder of SavedModels, for tests.

`python tests/serving_open_inference.py savedmodels --port 8000` serves until it is
stopped. It answers and refuses as Triton does, which was looked at: every tensor has
the batch as its first dimension and one more, binary data comes after the JSON.
"""

import json
import re
import struct
import threading

import numpy as np
import serving_rest
from serving_repository import RefusalError, command_line

MODEL = r"/v2/models/([^/]+)(?:/versions/(\d+))?"
INFER, GET = re.compile(f"{MODEL}/infer"), re.compile(f"{MODEL}(/ready)?")
SIGNATURE = "serving_bytes"
NAMES = {
    "DT_STRING": "BYTES",
    "DT_FLOAT": "FP32",
    "DT_INT32": "INT32",
    "DT_INT64": "INT64",
    "DT_BOOL": "BOOL",
}


class OpenInferenceServer(serving_rest.RestServer):
    """Serves a repository on a port of 127.0.0.1, in a thread, until closed.

    `rank` is that of the inputs: 2 as Triton's batches have it, 1 as TensorFlow has it.
    """

    def __init__(self, repository, port=0, faults=None, rank=2):
        self.rank = rank
        self.loading = threading.Event()  # set: versions are not ready
        super().__init__(repository, port, faults, Handler)


class Handler(serving_rest.Handler):
    prefix = "/v2/"

    def do_GET(self):
        self.answer("GET", GET, self.get)

    def do_POST(self):
        self.answer("POST", INFER, self.predict)

    def where(self, name, version, *rest, body):
        return super().where(name, version, None, *rest, body=body)

    def get(self, where, body, ready):
        model = self.found(where)[1]
        if ready:
            if self.owner.loading.is_set():
                raise RefusalError("INVALID_ARGUMENT", "not ready")
            return {}
        definition = model.signature_def[SIGNATURE]
        return {
            "name": where["name"],
            "versions": [str(number) for number in self.owner.repository.available(
                where["name"], where["version"])],
            "platform": "tests",
            "inputs": [self.described(*item, self.owner.rank)
                       for item in definition.inputs.items()],
            "outputs": [self.described(*item, 2)
                        for item in definition.outputs.items()],
        }  # fmt: skip

    def described(self, name, info, rank):
        sides = [int(dimension.size) for dimension in info.tensor_shape.dim]
        kind = serving_rest.dtype_name(info.dtype)
        shape = [*sides, 1][:rank]
        return {"name": name, "datatype": NAMES[kind], "shape": shape}

    def found(self, where):
        try:
            return self.owner.repository.find(where["name"], where["version"])
        except RefusalError as refusal:
            message = f"Request for unknown model: {where['name']!r} is not found"
            raise RefusalError("NOT_FOUND", message) from refusal

    def predict(self, where, body):
        model = self.found(where)[1]
        length = int(self.headers["Inference-Header-Content-Length"])
        (given,) = json.loads(body[:length])["inputs"]
        rest = body[length:]
        if given["parameters"]["binary_data_size"] != len(rest):
            raise RefusalError("INVALID_ARGUMENT", "unexpected size of binary data")
        if len(given["shape"]) != self.owner.rank:
            raise RefusalError("INVALID_ARGUMENT", "unexpected shape for input")
        images = []
        while rest:
            (size,) = struct.unpack_from("<I", rest)
            images.append(rest[4 : 4 + size])
            rest = rest[4 + size :]
        if len(images) != np.prod(given["shape"]):
            raise RefusalError("INVALID_ARGUMENT", "unexpected number of elements")
        arrays = {given["name"]: np.array(images, object)}
        try:
            results = model.run(SIGNATURE, arrays)
        except RefusalError as refusal:  # as what Python raises behind Triton
            trace = "Traceback (most recent call last):\n" + "  in a file\n" * 200
            raise RefusalError("INTERNAL", f"{trace}{refusal}") from refusal
        return {
            "model_name": where["name"],
            "outputs": [tensor(name, array) for name, array in results.items()],
        }


def tensor(name, array):
    shape = (*array.shape, 1)[:2]
    data = serving_rest.readable(array.reshape(-1))
    kind = NAMES[serving_rest.dtype_name(array.dtype)]
    return {"name": name, "datatype": kind, "shape": shape, "data": data}


if __name__ == "__main__":
    command_line(
        __doc__,
        8000,
        OpenInferenceServer,
        lambda port, name: f"http://127.0.0.1:{port}/v2/models/{name}",
    )
