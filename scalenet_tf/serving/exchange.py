"""Requests by HTTP whose answers are JSON, over connections that are kept open."""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import json
import os
import ssl
import threading
import urllib.parse
import urllib.request
import weakref
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from scalenet_tf.extras import import_extra
from scalenet_tf.serving.endpoint import CLIENT, Connection, Endpoint, largest_answer
from scalenet_tf.serving.errors import (
    ModelNotFoundError,
    ServerFaultError,
    ServerTimeoutError,
    ServerUnavailableError,
    ServingError,
    closed,
    refused,
    told,
    undecodable,
)

T = TypeVar("T")

# Seconds that a thread waits for the loop's beyond the time-out, which is the loop's.
_MARGIN = 5.0
_OF_OTHER_PROCESSES: list[Any] = []
_JSON = {"Content-Type": "application/json", "Accept-Encoding": "identity"}


class HttpTransport:
    """One model by HTTP, over connections that are kept open.

    A transport sets `api`, what its server speaks, for messages.

    Args:
        endpoint: The model.
        connection: Time-out, headers, certificates.
        batch_size: Not used: answers are limited by the images of their request.

    Raises:
        ImportError: aiohttp is not installed.
        ValueError: The file of certificates cannot be read.
    """

    api: str

    def __init__(self, endpoint: Endpoint, connection: Connection, batch_size: int):
        del batch_size
        self._endpoint = endpoint
        self._exchange = JsonExchange(endpoint, connection, self.api)

    def close(self) -> None:
        """Closes the connections."""
        self._exchange.close()


class JsonExchange:
    """Asks one server for JSON objects.

    Args:
        endpoint: The model.
        connection: Time-out, headers, certificates.
        api: What the server speaks, for messages.

    Raises:
        ImportError: aiohttp is not installed.
        ValueError: The file of certificates cannot be read.
    """

    def __init__(self, endpoint: Endpoint, connection: Connection, api: str):
        self._aiohttp = import_extra("aiohttp", "aiohttp", "serving", CLIENT)
        self._endpoint = endpoint
        self._connection = connection
        self._api = api
        self._proxy = _proxy_of(endpoint.http_url)
        self._tls = ssl.create_default_context(cafile=connection.ca_file)
        self._thread = _LoopThread()
        self._session = self._thread.run(self._open(), _MARGIN)
        self._finalizer = weakref.finalize(
            self, _abandon, self._thread, self._session, os.getpid()
        )
        self._finalizer.atexit = False

    async def _open(self) -> Any:
        aiohttp = self._aiohttp
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_was_open)
        return aiohttp.ClientSession(
            trace_configs=[trace],
            connector=aiohttp.TCPConnector(ssl=self._tls),
            timeout=aiohttp.ClientTimeout(total=None),  # see `_exchange`
            headers=_merged(_JSON, self._authorization(), self._connection.headers),
            cookie_jar=aiohttp.DummyCookieJar(),
            # A few bytes can become gigabytes.
            auto_decompress=False,
        )

    def _authorization(self) -> dict[str, str]:
        if self._endpoint.user is None:
            return {}
        encoded = base64.b64encode(":".join(self._endpoint.user).encode())
        return {"Authorization": f"Basic {encoded.decode('ascii')}"}

    def get(self, verb: str) -> dict[str, Any]:
        """What is at the model's URL and what is added to it."""
        return self._request("GET", verb, None, 1, {})

    def is_ready(self, verb: str) -> bool:
        """Whether the answer is a success, which may be without content.

        Raises:
            ServingError: It is neither that nor code 400, which says that it is not.
        """
        url = self._endpoint.http_url + verb
        exchange = self._exchange(largest_answer(1), method="GET", url=url)
        code, content = self._answer(exchange)
        value = _json_object(content) or {}
        if code not in (200, 400):
            message = value.get("error") or _start(content)
            raise _error(self._endpoint.server, code, message)
        return code == 200 and value.get("ready", True) is not False

    def post(
        self,
        verb: str,
        body: bytes,
        images: int,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The answer to a request of so many images."""
        return self._request("POST", verb, body, images, headers or {})

    def close(self) -> None:
        """Closes the connections; who waits for an answer gets an error."""
        self._finalizer.detach()
        self._thread.end(self._session.close)
        self._thread.join()

    def _request(
        self,
        method: str,
        verb: str,
        body: bytes | None,
        images: int,
        headers: Mapping[str, str],
    ) -> dict[str, Any]:
        server = self._endpoint.server
        exchange = self._exchange(
            largest_answer(images),
            method=method,
            url=self._endpoint.http_url + verb,
            data=body,
            headers=headers,
        )
        code, content = self._answer(exchange)
        value = _json_object(content)
        if code != 200:
            message = value.get("error") if value else None
            raise _error(server, code, message or _start(content))
        if value is None:
            raise ServerFaultError(
                f"{server} answered with something else than a JSON object: "
                f"{_start(content)!r}. Is it {self._api}?"
            )
        return value

    def _answer(
        self, exchange: Coroutine[Any, Any, tuple[int, bytes]]
    ) -> tuple[int, bytes]:
        """Code and content of an answer."""
        server, aiohttp = self._endpoint.server, self._aiohttp
        try:
            return self._thread.run(exchange, self._connection.timeout + _MARGIN)
        except concurrent.futures.CancelledError as error:
            raise closed(server) from error
        except TimeoutError as error:
            raise ServerTimeoutError(
                f"{server} did not answer within {self._connection.timeout:g} s."
            ) from error
        except (aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch) as error:
            raise ServerFaultError(
                f"{server}: no encrypted connection: {told(_cause(error))}. "
                "`ca_file` (--ca-file) names the certificates to trust."
            ) from error
        except aiohttp.ClientConnectionError as error:
            raise ServerUnavailableError(
                f"{server} is unavailable: {told(_cause(error))}."
            ) from error
        except aiohttp.ClientError as error:
            raise ServerFaultError(
                f"{server} answered with what is not HTTP, or not whole: "
                f"{told(str(error))}."
            ) from error

    async def _exchange(self, most: int, **request: Any) -> tuple[int, bytes]:
        """Code and content, over a new connection where one kept open was closed.

        A server may close one at any time, also while it is sent a request, which says
        nothing of the server. To ask again is safe: nothing is changed there.
        """
        aiohttp = self._aiohttp
        async with asyncio.timeout(self._connection.timeout):
            while True:
                connection = {"was_open": False}
                try:
                    return await self._ask(most, request, connection)
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                    if not connection["was_open"]:
                        raise

    async def _ask(
        self, most: int, request: Mapping[str, Any], connection: dict[str, bool]
    ) -> tuple[int, bytes]:
        server = self._endpoint.server
        async with self._session.request(
            **request,
            proxy=self._proxy,
            allow_redirects=False,
            trace_request_ctx=connection,
        ) as response:
            if 300 <= response.status < 400:
                raise ServerFaultError(
                    f"{server} answered {response.status}: the model is elsewhere. "
                    "Images are not sent on: give the URL of the server itself."
                )
            encoding = response.headers.get("Content-Encoding", "identity")
            if encoding != "identity":
                raise ServerFaultError(
                    f"{server} answered in the encoding {told(encoding)!r}, which was "
                    "not asked for."
                )
            content = bytearray()
            async for part in response.content.iter_any():
                content += part
                if len(content) > most:
                    raise ServerFaultError(
                        f"{server} answered with more than {most:,} bytes, the most "
                        "for a request of this size."
                    )
            return response.status, bytes(content)


def _merged(*groups: Mapping[str, str]) -> dict[str, str]:
    """Headers of which the last of a name stands; capitals make no other name."""
    named = {
        name.lower(): (name, text) for group in groups for name, text in group.items()
    }
    return dict(named.values())


async def _was_open(session: object, context: Any, params: object) -> None:
    """Notes that a request goes over a connection that was kept open."""
    del session, params
    context.trace_request_ctx["was_open"] = True


class _LoopThread:
    """An event loop in a thread: callers may have a loop of their own, as notebooks do.

    It is there for the one limit over a whole exchange; those of blocking sockets begin
    anew with each byte.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # Not a method: a thread that holds the object would keep it for ever.
        self._thread = threading.Thread(target=_run, args=(self._loop,), daemon=True)
        self._thread.start()
        # A coroutine that comes after the end would never run.
        self._lock = threading.Lock()
        self._ended = False

    def run(self, coroutine: Coroutine[Any, Any, T], seconds: float) -> T:
        """What the coroutine gives, once it is done.

        Raises:
            concurrent.futures.CancelledError: The thread was ended, now or before.
            TimeoutError: It takes longer than so many seconds.
        """
        with self._lock:
            if self._ended:
                coroutine.close()
                raise concurrent.futures.CancelledError
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(seconds)
        except BaseException:  # such as Ctrl-C
            future.cancel()
            raise

    def end(self, closing: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Cancels what runs, runs a last coroutine and ends the thread, once."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            asyncio.run_coroutine_threadsafe(_last(closing), self._loop)

    def join(self) -> None:
        """Waits for the end, but not for ever."""
        self._thread.join(_MARGIN)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _last(closing: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=_MARGIN)
        await closing()
    finally:
        asyncio.get_running_loop().stop()


def _abandon(thread: _LoopThread, session: Any, process: int) -> None:
    """Ends what a client that nobody closed has left."""
    if process != os.getpid():
        # Its sockets' end would take them from the first process, which shares what
        # waits for them.
        _OF_OTHER_PROCESSES.append(session)
        return
    thread.end(session.close)


def _error(server: str, code: int, message: object) -> ServingError:
    # Triton answers what a model raises with 500.
    if code == 400 or (code == 500 and undecodable(message)):
        return refused(server, message)
    known: dict[int, type[ServingError]] = {
        404: ModelNotFoundError,
        503: ServerUnavailableError,
        504: ServerTimeoutError,
    }
    text = f"{server} answered {code}: {told(message)}"
    return known.get(code, ServerFaultError)(text)


def _proxy_of(url: str) -> str | None:
    """The proxy that the environment has for a URL.

    Nothing else is taken from it: a password in `.netrc` is for who asks for it.
    """
    parts = urllib.parse.urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _json_object(content: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _start(content: bytes) -> str:
    text = content[:200].decode("utf-8", "replace")
    return text if len(content) <= 200 else f"{text}..."


def _cause(error: OSError) -> str:
    """The system's reason where there is one."""
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return getattr(error, "strerror", None) or str(error)
