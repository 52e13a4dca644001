"""TensorFlow Serving's REST API.

Source: its documentation, https://www.tensorflow.org/tfx/serving/api_rest.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

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


class RestTransport:
    """One model by REST, over connections that are kept open.

    Args:
        endpoint: The model.
        timeout: Seconds to connect, and seconds of silence until an answer.

    Raises:
        ImportError: requests is not installed.
    """

    def __init__(self, endpoint: Endpoint, timeout: float):
        self._requests = import_extra("requests", "requests", "serving", CLIENT)
        self._session = self._requests.Session()
        self._url = endpoint.rest_url
        self._server = endpoint.server
        self._timeout = timeout

    def predict(
        self, signature: str, input_name: str, images: Sequence[bytes]
    ) -> dict[str, Any]:
        """The outputs of a signature for encoded images, as nested lists."""
        encoded = [{"b64": base64.b64encode(data).decode("ascii")} for data in images]
        body = {"signature_name": signature, "inputs": {input_name: encoded}}
        content = self._request("POST", ":predict", json.dumps(body).encode())
        if not isinstance(content.get("outputs"), dict):
            raise ServerFaultError(f"{self._server} answered without named outputs.")
        return content["outputs"]

    def status(self) -> dict[str, Any]:
        """The JSON form of a GetModelStatusResponse."""
        return self._request("GET", "")

    def metadata(self) -> dict[str, Any]:
        """The JSON form of a GetModelMetadataResponse."""
        return self._request("GET", "/metadata")

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()

    def _request(self, method: str, verb: str, body: bytes | None = None) -> dict:
        exceptions = self._requests.exceptions
        headers = {"Content-Type": "application/json"}
        try:
            response = self._session.request(
                method,
                self._url + verb,
                data=body,
                headers=headers,
                timeout=self._timeout,
            )
        except exceptions.Timeout as error:
            raise ServerTimeoutError(
                f"{self._server} did not answer within {self._timeout:g} s."
            ) from error
        except exceptions.ConnectionError as error:
            raise ServerUnavailableError(
                f"{self._server} is unavailable: {_cause(error)}."
            ) from error
        except exceptions.RequestException as error:
            raise ServerFaultError(f"{self._server}: {error}.") from error
        content = _json_object(response.content)
        if response.status_code != 200:
            message = (content or {}).get("error") or _start(response.text)
            raise _error(self._server, response.status_code, message)
        if content is None:
            raise ServerFaultError(
                f"{self._server} answered with something else than a JSON object: "
                f"{_start(response.text)!r}. Is it TensorFlow Serving's REST port?"
            )
        return content


def _error(server: str, code: int, message: str) -> ServingError:
    text = f"{server} answered {code}: {message}"
    if code == 400:
        return refused(server, message)
    known = {
        404: ModelNotFoundError,
        503: ServerUnavailableError,
        504: ServerTimeoutError,
    }
    return known.get(code, ServerFaultError)(text)


def _json_object(content: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _start(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."


def _cause(error: BaseException) -> str:
    """The system's reason, which urllib3 wraps, which requests wraps."""
    reason = error.args[0] if error.args else error
    reason = getattr(reason, "reason", reason)
    system = getattr(reason, "__cause__", None) or reason
    return getattr(system, "strerror", None) or str(system)
