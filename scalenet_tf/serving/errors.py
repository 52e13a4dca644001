"""What can go wrong between a client and a server."""

from __future__ import annotations

import re
from collections.abc import Sequence

_TOLD = 1000  # characters of what a server says


class ServingError(Exception):
    """No answer that can be used came from a server."""


class ClientUnusableError(ServingError):
    """The client was closed, or the process forked after the client was made."""


class ServerUnavailableError(ServingError):
    """Nothing listens there, or the server says that it cannot answer now."""


class ServerTimeoutError(ServingError):
    """The answer did not come in time."""


class ServerFaultError(ServingError):
    """The server failed, or what it answered is not of its API."""


class RequestRefusedError(ServingError):
    """The server found the request wrong; the same request fails again."""


class ModelNotFoundError(RequestRefusedError):
    """The server has no such model, or no such version or label of it."""


class SignatureNotFoundError(RequestRefusedError):
    """The model has no such signature."""


class InvalidImageError(RequestRefusedError):
    """Images cannot be decoded, and the request failed as a whole.

    Attributes:
        indices: Their places in the request, counted from 0: the first 16 at least.
    """

    def __init__(self, message: str, indices: Sequence[int]):
        super().__init__(message)
        self.indices = tuple(indices)


class TopKError(ValueError):
    """The model does not name as many classes as were asked for."""


# What an exported model says of images, see `scalenet_tf.export`; the list ends with
# three points where it was cut.
_START = "cannot be decoded at the indices "
_UNDECODABLE = re.compile(rf"{_START}[^\[\]]*\]? \[((?:[0-9]{{1,9}} ?)+)")
# Parts of TensorFlow Serving's own messages.
_SIGNATURE = "Serving signature "
_LABEL = "Unrecognized servable version label"


def told(message: object) -> str:
    """What a server says, for a message: not too long, nothing a terminal obeys."""
    text = message if isinstance(message, str) else repr(message)
    short = text if len(text) <= _TOLD else f"{text[:_TOLD]}..."
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in short)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def undecodable(message: object) -> list[int]:
    """The indices of images of which a server says that they cannot be decoded.

    In what Python servers say, a traceback stands before it.
    """
    if not isinstance(message, str):
        return []
    start = max(message.rfind(_START), 0)
    found = _UNDECODABLE.search(message[start : start + _TOLD])
    return [int(index) for index in found[1].split()] if found else []


def closed(server: str) -> ClientUnusableError:
    """The error for a client that was closed, now or before."""
    return ClientUnusableError(f"{server}: the client was closed: make another Client.")


def refused(server: str, message: object) -> RequestRefusedError:
    """The error for what a server says of a request that it found wrong."""
    indices = undecodable(message)
    message = told(message)
    text = f"{server} refused the request: {message}"
    if indices:
        return InvalidImageError(text, indices)
    if _SIGNATURE in message:
        return SignatureNotFoundError(text)
    if _LABEL in message:
        return ModelNotFoundError(text)
    return RequestRefusedError(text)
