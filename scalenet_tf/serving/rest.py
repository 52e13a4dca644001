"""TensorFlow Serving's REST API.

Source: its documentation, https://www.tensorflow.org/tfx/serving/api_rest.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from scalenet_tf.serving.errors import ServerFaultError
from scalenet_tf.serving.exchange import HttpTransport


class RestTransport(HttpTransport):
    """One model by REST; arguments and errors are those of `HttpTransport`."""

    api = "TensorFlow Serving's REST port"

    def predict(
        self,
        signature: str,
        input_name: str,
        images: Sequence[bytes],
        outputs: Sequence[str],
    ) -> dict[str, Any]:
        """Outputs of a signature for encoded images, as nested lists."""
        encoded = [{"b64": base64.b64encode(data).decode("ascii")} for data in images]
        body = {"signature_name": signature, "inputs": {input_name: encoded}}
        sent = json.dumps(body).encode()
        named = self._exchange.post(":predict", sent, len(images)).get("outputs")
        if not isinstance(named, dict):
            raise ServerFaultError(
                f"{self._endpoint.server} answered without named outputs."
            )
        return {name: named[name] for name in outputs if name in named}

    def status(self) -> dict[str, Any]:
        """The JSON form of a GetModelStatusResponse."""
        return self._exchange.get("")

    def metadata(self) -> dict[str, Any]:
        """The JSON form of a GetModelMetadataResponse."""
        return self._exchange.get("/metadata")
