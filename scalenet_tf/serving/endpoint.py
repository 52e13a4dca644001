"""The address of a served model."""

from __future__ import annotations

import dataclasses
import re
import urllib.parse

CLIENT = "the client for TensorFlow Serving"  # what messages call it
FORMS = (
    "http[s]://HOST:PORT/v1/models/NAME[/versions/NUMBER | /labels/LABEL] (REST) or "
    "grpc://HOST[:PORT]/NAME[/NUMBER | /versions/NUMBER | /labels/LABEL]"
)

_NAME = "(?P<name>[^/:]+)"
_CHOICE = "(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_SHORT = "(?:/(?P<short>[0-9]+))?"
_PATHS = {
    "http": re.compile(f"/v1/models/{_NAME}{_CHOICE}/?"),
    "https": re.compile(f"/v1/models/{_NAME}{_CHOICE}/?"),
    "grpc": re.compile(f"/{_NAME}(?:{_CHOICE}|{_SHORT})/?"),
}
_GRPC_PORT = 8500


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A model, or one version of it, on a server.

    Attributes:
        scheme: `"http"`, `"https"` or `"grpc"`.
        address: Host and port.
        name: Name of the model.
        version: Its version; `None` for the latest.
        label: Label of a version, such as `"stable"`; not with `version`.
    """

    scheme: str
    address: str
    name: str
    version: int | None = None
    label: str | None = None

    @property
    def server(self) -> str:
        """The server's part of the URL."""
        return f"{self.scheme}://{self.address}"

    @property
    def rest_url(self) -> str:
        """The URL of the model's status, to which REST's verbs are added."""
        url = f"{self.server}/v1/models/{urllib.parse.quote(self.name, safe='')}"
        if self.version is not None:
            return f"{url}/versions/{self.version}"
        if self.label is not None:
            return f"{url}/labels/{urllib.parse.quote(self.label, safe='')}"
        return url


def parse_url(url: str) -> Endpoint:
    """Reads the URL of a served model.

    Args:
        url: `http[s]://HOST:PORT/v1/models/NAME`, which may go on with
            `/versions/NUMBER` or `/labels/LABEL`, as in TensorFlow Serving's REST API;
            or `grpc://HOST[:8500]/NAME`, which may go on in the same ways or with
            `/NUMBER`.

    Raises:
        ValueError: It has another form.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        parts, port, host = urllib.parse.SplitResult("", "", "", "", ""), None, None
    pattern = _PATHS.get(parts.scheme)
    match = pattern.fullmatch(parts.path) if pattern else None
    if not host or not match or parts.query or parts.fragment:
        raise ValueError(
            f"the URL of a served model must be {FORMS}. Received: {url!r}."
        )
    address = parts.netloc
    if parts.scheme == "grpc" and port is None:
        address = f"{address.rstrip(':')}:{_GRPC_PORT}"
    found = match.groupdict()
    version, label = found["version"] or found.get("short"), found["label"]
    return Endpoint(
        parts.scheme,
        address,
        urllib.parse.unquote(found["name"]),
        None if version is None else int(version),
        None if label is None else urllib.parse.unquote(label),
    )
