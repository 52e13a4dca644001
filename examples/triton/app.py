"""Serves an exported SavedModel with Triton, by the Open Inference Protocol.

`python app.py savedmodels/digits` answers at http://127.0.0.1:8000/v2/models/digits
what `scalenet predict` asks: the newest version, its signature `serving_bytes`.
Requests that come at the same time are computed together. Needs
`pip install nvidia-pytriton tensorflow` in an environment of its own; see docs/load.md.
"""

import argparse
import os
import signal

import numpy as np
import tensorflow as tf
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

SIGNATURE = "serving_bytes"
INPUT = "image_bytes"


class Model:
    """One version of an export, as functions of NumPy arrays.

    Args:
        folder: Of the version.
    """

    def __init__(self, folder: str):
        self._loaded = tf.saved_model.load(folder)
        self._run = self._loaded.signatures[SIGNATURE]

    @property
    def outputs(self) -> list[Tensor]:
        """What Triton must know of each output; the batch goes without saying."""
        return [
            Tensor(
                name=name,
                dtype=bytes if spec.dtype == tf.string else spec.dtype.as_numpy_dtype,
                shape=tuple(spec.shape[1:]) or (1,),
            )
            for name, spec in self._run.structured_outputs.items()
        ]

    @batch
    def answer(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs for the images of all requests that were joined."""
        images = tf.constant(inputs[INPUT].reshape(-1).tolist(), tf.string)
        outputs = {name: value.numpy() for name, value in self._run(images).items()}
        return {
            name: _plain(value).reshape(len(images), -1)
            for name, value in outputs.items()
        }


def _plain(values: np.ndarray) -> np.ndarray:
    """Texts as Triton takes them."""
    return values.astype(np.bytes_) if values.dtype == object else values


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
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--most", type=int, default=32, help="images of a batch")
    parser.add_argument("--wait", type=float, default=0.02, help="seconds for others")
    options = parser.parse_args()
    try:
        version = newest(options.folder)
        model = Model(version)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=options.port,
        grpc_address="127.0.0.1",
        grpc_port=options.port + 1,  # not used here, and 8001 may be taken
        allow_metrics=False,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name=os.path.basename(os.path.normpath(options.folder)),
            model_version=int(os.path.basename(version)),
            infer_func=model.answer,
            inputs=[Tensor(name=INPUT, dtype=bytes, shape=(1,))],
            outputs=model.outputs,
            config=ModelConfig(
                max_batch_size=options.most,
                batcher=DynamicBatcher(
                    max_queue_delay_microseconds=round(1e6 * options.wait)
                ),
            ),
        )
        triton.run()
        print(f"port {options.port}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
