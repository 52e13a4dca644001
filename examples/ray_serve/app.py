"""Serves an exported SavedModel with Ray Serve, for the client of TensorFlow Serving.

`python app.py savedmodels/digits` answers at http://127.0.0.1:8501/v1/models/digits
what `scalenet predict` asks of TensorFlow Serving by REST: the newest version, the
signature `serving_bytes`, the columns of `inputs`. Requests that come at the same time
are computed together. Needs `pip install "ray[serve]"`.
"""

import argparse
import asyncio
import base64
import os
import signal

import ray
import tensorflow as tf
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

SIGNATURE = "serving_bytes"


@serve.deployment(max_ongoing_requests=256)
class Model:
    """One version of an export.

    Args:
        folder: Of the version.
        name: Of the model in its URL.
        most: Images that are computed together, at most.
        wait: Seconds that an image waits for others, at most.
    """

    def __init__(self, folder: str, name: str, most: int, wait: float):
        self._loaded = tf.saved_model.load(folder)
        self._run = self._loaded.signatures[SIGNATURE]
        self._version = os.path.basename(folder)
        self._path = f"/v1/models/{name}"
        self._joined.set_max_batch_size(most)
        self._joined.set_batch_wait_timeout_s(wait)

    @serve.batch
    async def _joined(self, images: list[bytes]) -> list[dict]:
        # Not in a thread: whatever arrives meanwhile is taken together afterwards.
        outputs = self._run(image_bytes=tf.constant(images))
        rows = {name: _plain(value.numpy().tolist()) for name, value in outputs.items()}
        return [
            {name: values[index] for name, values in rows.items()}
            for index in range(len(images))
        ]

    async def __call__(self, request: Request) -> JSONResponse:
        """Answers a prediction, or the state of the version."""
        path = request.url.path
        if request.method == "GET" and path == self._path:
            status = {"error_code": "OK", "error_message": ""}
            one = {"version": self._version, "state": "AVAILABLE", "status": status}
            return JSONResponse({"model_version_status": [one]})
        if request.method != "POST" or path != f"{self._path}:predict":
            return _refusal(404, f"there is no {path} here")
        try:
            images = _images(await request.json())
        except (ValueError, KeyError, TypeError) as error:
            return _refusal(400, f"images for {SIGNATURE} cannot be read: {error!r}")
        try:
            rows = await asyncio.gather(*map(self._joined, images))
        except tf.errors.InvalidArgumentError as error:
            return _refusal(400, error.message)
        outputs = {name: [row[name] for row in rows] for name in rows[0]}
        return JSONResponse({"outputs": outputs})


def _images(body: dict) -> list[bytes]:
    """The encoded images of a request, one or more."""
    if body["signature_name"] != SIGNATURE or not body["inputs"]["image_bytes"]:
        raise ValueError(body["signature_name"])
    return [
        base64.b64decode(one["b64"], validate=True)
        for one in body["inputs"]["image_bytes"]
    ]


def _plain(value: object) -> object:
    """Texts as JSON has them."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.decode() if isinstance(value, bytes) else value


def _refusal(code: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status_code=code)


def newest(folder: str) -> str:
    """The folder of the highest version of an export."""
    versions = [name for name in os.listdir(folder) if name.isdecimal()]
    if not versions:
        raise ValueError(f"{folder!r} has no version of an export in it")
    return os.path.join(os.path.abspath(folder), max(versions, key=int))


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="what export made, with its versions")
    parser.add_argument("--port", type=int, default=8501)
    parser.add_argument("--most", type=int, default=16, help="images of a batch")
    parser.add_argument("--wait", type=float, default=0.02, help="seconds for others")
    options = parser.parse_args()
    name = os.path.basename(os.path.normpath(options.folder))
    try:
        version = newest(options.folder)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    ray.init(include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": options.port})
    model = Model.bind(version, name, options.most, options.wait)
    serve.run(model, route_prefix="/", blocking=False)
    print(f"port {options.port}", flush=True)
    try:
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    finally:
        serve.shutdown()


if __name__ == "__main__":
    main()
