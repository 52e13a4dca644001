"""Requests that TensorFlow Serving runs when it loads a model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import ModuleType

import numpy as np
import tensorflow as tf

from scalenet_tf.export.requests import Requests
from scalenet_tf.extras import import_extra

EXTRA_ASSETS = "assets.extra"


def serving_protos() -> tuple[ModuleType, ...]:
    """The modules of TensorFlow Serving's messages: model, predict, prediction_log.

    Raises:
        MissingPackageError: tensorflow-serving-api is not installed.
    """
    return tuple(
        import_extra(
            f"tensorflow_serving.apis.{name}_pb2", "tensorflow-serving-api", "export"
        )
        for name in ("model", "predict", "prediction_log")
    )


def write_warmup(
    directory: str, by_signature: Mapping[str, Requests], batch_sizes: Sequence[int]
) -> None:
    """Writes what TensorFlow Serving runs when it loads the model, a batch a record."""
    model, predict, log = serving_protos()
    folder = os.path.join(directory, EXTRA_ASSETS)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "tf_serving_warmup_requests")
    with tf.io.TFRecordWriter(path) as writer:
        for signature, (input_name, values, _) in by_signature.items():
            for size in batch_sizes:
                batch = values[np.arange(size) % len(values)]
                request = predict.PredictRequest(
                    model_spec=model.ModelSpec(signature_name=signature),
                    inputs={input_name: tf.make_tensor_proto(batch)},
                )
                record = log.PredictionLog(predict_log=log.PredictLog(request=request))
                writer.write(record.SerializeToString())
