"""The address of a served model, and how a client connects to it."""

from __future__ import annotations

import dataclasses
import re
import urllib.parse
from collections.abc import Mapping
from typing import Literal

CLIENT = "the client of served models"  # what messages call it
FORMS = (
    "http[s]://HOST:PORT/v1/models/NAME[/versions/NUMBER | /labels/LABEL] (REST), "
    "http[s]://HOST:PORT/v2/models/NAME[/versions/NUMBER] (Open Inference Protocol) or "
    "grpc[s]://HOST[:PORT]/NAME[/NUMBER | /versions/NUMBER | /labels/LABEL]"
)

Api = Literal["rest", "open_inference", "grpc"]

_NAME = "(?P<name>[^/:]+)"
_CHOICE = "(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_SHORT = "(?:/(?P<short>[0-9]+))?"
_VERSION = "(?:/versions/(?P<version>[0-9]+))?"
_HTTP: Mapping[Api, re.Pattern[str]] = {
    "rest": re.compile(f"/v1/models/{_NAME}{_CHOICE}/?"),
    "open_inference": re.compile(f"/v2/models/{_NAME}{_VERSION}/?"),
}
_GRPC: Mapping[Api, re.Pattern[str]] = {
    "grpc": re.compile(f"/{_NAME}(?:{_CHOICE}|{_SHORT})/?")
}
_PATHS = {"http": _HTTP, "https": _HTTP, "grpc": _GRPC, "grpcs": _GRPC}
_GRPC_PORT = 8500
_VERSION_DIGITS = 18  # what 64 bits hold
_HIDDEN = "..."  # in place of what must not be printed
# Bytes of an answer: a class takes about 25 in JSON, so that there may be 20,000.
_ANSWER, _ANSWER_PER_IMAGE = 2 * 2**20, 2**19


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A model, or one version of it, on a server.

    Attributes:
        scheme: `"http"`, `"https"`, `"grpc"` or `"grpcs"`.
        address: Host and port.
        name: Name of the model.
        version: Its version; `None` for the latest.
        label: Label of a version, such as `"stable"`; not with `version`.
        user: User and password for HTTP's basic authentication; never printed.
        open_inference: Whether a server at `http[s]://` speaks the Open Inference
            Protocol (KServe's V2, of Triton and others), not TensorFlow Serving's REST.
    """

    scheme: str
    address: str
    name: str
    version: int | None = None
    label: str | None = None
    user: tuple[str, str] | None = dataclasses.field(default=None, repr=False)
    open_inference: bool = False

    @property
    def api(self) -> Api:
        """The API that the server is asked by."""
        if self.open_inference:
            return "open_inference"
        return "rest" if self.scheme in ("http", "https") else "grpc"

    @property
    def server(self) -> str:
        """The server's part of the URL."""
        return f"{self.scheme}://{self.address}"

    @property
    def is_secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme in ("https", "grpcs")

    @property
    def http_url(self) -> str:
        """The URL of the model, or of one version, to which verbs are added."""
        version = "v2" if self.open_inference else "v1"
        name = urllib.parse.quote(self.name, safe="")
        url = f"{self.server}/{version}/models/{name}"
        if self.version is not None:
            return f"{url}/versions/{self.version}"
        if self.label is not None:
            return f"{url}/labels/{urllib.parse.quote(self.label, safe='')}"
        return url


@dataclasses.dataclass(frozen=True)
class Connection:
    """How a client connects.

    Attributes:
        timeout: Seconds from a request to the end of its answer.
        headers: Sent with each request (gRPC: metadata); never printed.
        ca_file: Certificates to trust, as a PEM file; `None`: the system's.
    """

    timeout: float
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    ca_file: str | None = None


def largest_answer(images: int) -> int:
    """How many bytes the answer to a request of so many images may have."""
    return _ANSWER + images * _ANSWER_PER_IMAGE


def without_secrets(url: str) -> str:
    """A URL for a message: without user, password, query and fragment."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    # A password may hold what elsewhere ends the host.
    _, user, shown = rest.rpartition("@")
    shown, query, _ = shown.partition("?")
    hidden = (f"{_HIDDEN}@" if user else "", f"?{_HIDDEN}" if query else "")
    return f"{scheme}://{hidden[0]}{shown}{hidden[1]}"


def parse_url(url: str) -> Endpoint:
    """Reads the URL of a served model.

    Args:
        url: `http[s]://HOST:PORT/v1/models/NAME`, which may go on with
            `/versions/NUMBER` or `/labels/LABEL`, as in TensorFlow Serving's REST API;
            `http[s]://HOST:PORT/v2/models/NAME`, which may go on with
            `/versions/NUMBER`, as in the Open Inference Protocol; or
            `grpc[s]://HOST[:8500]/NAME`, which may go on as REST's or with `/NUMBER`.
            HTTP takes `USER:PASSWORD@` before the host.

    Raises:
        ValueError: It has another form.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        parts, port, host = urllib.parse.SplitResult("", "", "", "", ""), None, None
    api, match = _matched(parts)
    userinfo, _, address = parts.netloc.rpartition("@")
    if not host or not match or parts.query or parts.fragment:
        raise ValueError(
            f"the URL of a served model must be {FORMS}. "
            f"Received: {without_secrets(url)!r}."
        )
    is_grpc = api == "grpc"
    if is_grpc and userinfo:
        raise ValueError(
            "the URL of a gRPC server must have no user and password: send a header "
            f"(`headers`, --header). Received: {without_secrets(url)!r}."
        )
    if is_grpc and port is None:
        address = f"{address.rstrip(':')}:{_GRPC_PORT}"
    found = match.groupdict()
    version, label = found["version"] or found.get("short"), found.get("label")
    user, _, password = userinfo.partition(":")
    return Endpoint(
        parts.scheme,
        address,
        urllib.parse.unquote(found["name"]),
        _version(version, url),
        None if label is None else urllib.parse.unquote(label),
        (urllib.parse.unquote(user), urllib.parse.unquote(password))
        if userinfo
        else None,
        api == "open_inference",
    )


def _matched(parts: urllib.parse.SplitResult) -> tuple[Api | None, re.Match | None]:
    """The API that the scheme and the path are those of."""
    for api, pattern in _PATHS.get(parts.scheme, {}).items():
        match = pattern.fullmatch(parts.path)
        if match:
            return api, match
    return None, None


def _version(digits: str | None, url: str) -> int | None:
    if digits is None:
        return None
    if len(digits) > _VERSION_DIGITS:
        raise ValueError(
            f"the version of a served model must have at most {_VERSION_DIGITS} "
            f"digits. Received: {without_secrets(url)!r}."
        )
    return int(digits)
