"""A served model as a Python object: encoded images in, names and probabilities out."""

from __future__ import annotations

import math
import numbers
import os
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from scalenet_tf.extras import import_extra
from scalenet_tf.serving.endpoint import (
    CLIENT,
    Api,
    Connection,
    Endpoint,
    parse_url,
)
from scalenet_tf.serving.errors import (
    ClientUnusableError,
    InvalidImageError,
    RequestRefusedError,
    ServerFaultError,
    ServerUnavailableError,
    told,
)
from scalenet_tf.serving.messages import (
    OUTPUTS,
    UNREADABLE,
    ModelMetadata,
    Prediction,
    VersionStatus,
    check_model,
    model_metadata,
    predictions,
    statuses,
)
from scalenet_tf.serving.open_inference import OpenInferenceTransport
from scalenet_tf.serving.rest import RestTransport
from scalenet_tf.serving.rpc import GrpcTransport

T = TypeVar("T")

_TRANSPORTS: Mapping[Api, Callable[[Endpoint, Connection, int], Transport]] = (
    MappingProxyType(
        {
            "rest": RestTransport,
            "open_inference": OpenInferenceTransport,
            "grpc": GrpcTransport,
        }
    )
)
_INPUT = "image_bytes"
_HEADER = re.compile("[A-Za-z0-9-]+")
# Seconds: attempts are a random time apart, up to 0.2, 0.4, 0.8, ... and never more
# than the second.
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0


class Transport(Protocol):
    """What the APIs have in common."""

    def predict(
        self,
        signature: str,
        input_name: str,
        images: Sequence[bytes],
        outputs: Sequence[str],
    ) -> dict[str, Any]:
        """Outputs of a signature for encoded images, as nested lists or arrays."""

    def status(self) -> dict[str, Any]:
        """The JSON form of a GetModelStatusResponse."""

    def metadata(self) -> dict[str, Any]:
        """The JSON form of a GetModelMetadataResponse."""

    def close(self) -> None:
        """Closes the connections."""


class Client:
    """A model that `scalenet_tf.export.save_savedmodel` wrote, on a server.

    Args:
        url: As for `parse_url`; it chooses the API (TensorFlow Serving's REST or gRPC,
            the Open Inference Protocol) and the version.
        timeout: Seconds from a request to the end of its answer.
        attempts: How often a request is made at most. It is made again, after an
            exponential back-off, only where no server answers or it says that it is
            unavailable; never where the server found the request wrong.
        batch_size: Images in a request at most; larger batches are split. No more than
            the server's `max_batch_size`, where it joins requests to batches.
        signature: A signature that takes `image_bytes` and gives `classes`, `labels`
            and `probabilities`. The Open Inference Protocol has the default's alone.
        headers: Sent with each request, such as `{"Authorization": "Bearer ..."}`;
            they are never printed.
        ca_file: For https:// and grpcs://, a PEM file with the certificates to trust;
            `None`: the system's.

    Redirects are not followed, and an answer that is too long, or not what such a
    server answers, is a ServerFaultError.

    Raises:
        ImportError: A package of `pip install 'scalenet_tf[serving]'` is missing.
        ValueError: An argument is not allowed, or a file cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        attempts: int = 4,
        batch_size: int = 32,
        signature: str = "serving_bytes",
        headers: Mapping[str, str] | None = None,
        ca_file: str | os.PathLike[str] | None = None,
    ):
        _check_numbers(timeout=timeout, attempts=attempts, batch_size=batch_size)
        headers = {} if headers is None else dict(headers)
        _check_headers(headers)
        self._endpoint = parse_url(url)
        if self._endpoint.api == "grpc":
            _check_metadata(headers)
        self._process = os.getpid()
        self._batch_size = batch_size
        self._signature = signature
        self._tenacity = import_extra("tenacity", "tenacity", "serving", CLIENT)
        self._attempts = attempts
        transport = _TRANSPORTS[self._endpoint.api]
        path = None if ca_file is None else os.fspath(ca_file)
        connection = Connection(timeout, headers, path)
        try:
            self._transport: Transport = transport(
                self._endpoint, connection, batch_size
            )
        except OSError as error:  # an SSLError is one
            raise ValueError(
                "`ca_file` must be a PEM file of certificates. "
                f"Received: {path!r}: {error.strerror or error}."
            ) from error

    def predict(
        self, images: Sequence[bytes], top_k: int | None = None
    ) -> list[Prediction]:
        """Classifies encoded images of any sizes.

        The server decodes, as `scalenet_tf.decoding.decode_image` does.

        Args:
            images: The content of the files.
            top_k: How many classes to give for each; all that the model names by
                default.

        Returns:
            A prediction for each. `valid` is False for images that cannot be decoded,
            unless the model was exported with `on_corrupt="error"`.

        Raises:
            InvalidImageError: Images cannot be decoded, and the model was exported with
                `on_corrupt="error"`; `indices` are their places in `images`.
            ServingError: One of its other kinds, as their names say.
            ValueError: The model does not name as many classes as `top_k`, or an image
                is no bytes.
        """
        _check_images(images)
        _check_top_k(top_k)
        results: list[Prediction] = []
        for start in range(0, len(images), self._batch_size):
            batch = images[start : start + self._batch_size]
            outputs = self._predict_batch(batch, start)
            server = self._endpoint.server
            results += predictions(outputs, len(batch), top_k, server)
        return results

    def status(self) -> list[VersionStatus]:
        """The state of the version that the URL names, or of all versions.

        Raises:
            ServingError: One of its kinds, as their names say.
        """
        found = self._read(statuses, self._request(self._transport.status))
        for status in found:
            check_model(self._endpoint, None, status.version)
        return found

    def metadata(self) -> ModelMetadata:
        """Version and signatures of the model.

        Raises:
            ServingError: One of its kinds, as their names say.
        """
        found = self._read(model_metadata, self._request(self._transport.metadata))
        check_model(self._endpoint, found.name, found.version)
        return found

    def close(self) -> None:
        """Closes the connections; after a fork, they are the first process's to close.

        Threads that wait for an answer get a ClientUnusableError.
        """
        if self._process == os.getpid():
            self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _predict_batch(self, batch: Sequence[bytes], start: int) -> dict[str, Any]:
        try:
            return self._request(
                lambda: self._transport.predict(self._signature, _INPUT, batch, OUTPUTS)
            )
        except InvalidImageError as error:
            own = [index for index in error.indices if index < len(batch)]
            if not own:
                raise RequestRefusedError(
                    f"{error} The server had joined this request with another one, "
                    "whose image that is: export with on_corrupt='flag'."
                ) from error
            indices = [start + index for index in own]
            raise InvalidImageError(
                f"{self._endpoint.server}: images that cannot be decoded, at the "
                f"indices (counted from 0) {', '.join(map(str, indices))}.",
                indices,
            ) from error

    def _request(self, call: Callable[[], T]) -> T:
        if self._process != os.getpid():
            raise ClientUnusableError(
                f"{self._endpoint.server}: this client was made before the process "
                "forked, and its threads are not in the new process: make a Client "
                f"there. Received: a client of process {self._process} in process "
                f"{os.getpid()}."
            )
        retrying = self._tenacity.Retrying(
            retry=self._tenacity.retry_if_exception_type(ServerUnavailableError),
            wait=self._tenacity.wait_random_exponential(_FIRST_WAIT, _LONGEST_WAIT),
            stop=self._tenacity.stop_after_attempt(self._attempts),
            reraise=True,
        )
        try:
            return retrying(call)
        except ServerUnavailableError as error:
            raise ServerUnavailableError(
                f"{error} ({self._attempts} attempts)"
            ) from error

    def _read(self, read: Callable[[dict[str, Any]], T], content: dict[str, Any]) -> T:
        try:
            return read(content)
        except UNREADABLE as error:
            raise ServerFaultError(
                f"{self._endpoint.server} answered with a message that is not of its "
                f"API: {told(repr(error))}."
            ) from error


def _check_images(images: Sequence[bytes]) -> None:
    """A path would be sent as if it were the image that it names."""
    for index, image in enumerate(images):
        if not isinstance(image, bytes):
            raise ValueError(
                "`images` must be bytes each, the content of a file. Received: "
                f"{type(image).__name__} at index {index}."
            )


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _check_numbers(timeout: float, **counts: int) -> None:
    for name, value in {"timeout": timeout, **counts}.items():
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            raise ValueError(f"`{name}` must be a number. Received: {value!r}.")
        if not 0 < value < math.inf:
            raise ValueError(
                f"`{name}` must be more than 0, and finite. Received: {value}."
            )
    for name, value in counts.items():
        if not _is_whole(value):
            raise ValueError(f"`{name}` must be a whole number. Received: {value!r}.")


def _check_top_k(top_k: int | None) -> None:
    if top_k is None:
        return
    if not _is_whole(top_k):
        raise ValueError(f"`top_k` must be a whole number. Received: top_k={top_k!r}.")
    if top_k < 1:
        raise ValueError(f"`top_k` must be at least 1. Received: top_k={top_k}.")


def _check_headers(headers: Mapping[str, str]) -> None:
    names: set[str] = set()
    for name, text in headers.items():
        texts = isinstance(name, str) and isinstance(text, str)
        if not texts or not _HEADER.fullmatch(name) or not text.isprintable():
            raise ValueError(
                "`headers` must have names of letters, digits and hyphens, and "
                f"printable values. Received: a header {name!r}."
            )
        if name.lower() in names:
            raise ValueError(
                "`headers` must have each name once, whether in capital letters or "
                f"small ones. Received: {name!r} again."
            )
        names.add(name.lower())


def _check_metadata(headers: Mapping[str, str]) -> None:
    """Of names that end in -bin, gRPC takes bytes; of others, ASCII characters."""
    for name, text in headers.items():
        if name.lower().endswith("-bin") or not text.isascii():
            raise ValueError(
                "`headers` to a gRPC server must have names that do not end in '-bin', "
                f"and values of ASCII characters. Received: a header {name!r}."
            )
