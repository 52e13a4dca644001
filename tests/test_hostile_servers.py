"""The client against servers that are broken, or mean harm: one kind of error, soon."""

import contextlib
import gzip
import json
import os
import re
import select
import signal
import ssl
import threading
import time

import grpc
import hostile
import numpy as np
import pytest
import served
from hostile import (
    RIGHT,
    answers,
    drips,
    floods,
    gives,
    http,
    metadata,
    outputs,
    proto,
    response,
    sends,
    silent,
    status,
)
from situations import situation
from tensorflow_serving.apis import get_model_metadata_pb2

from scalenet_tf.serving import (
    Client,
    ClientUnusableError,
    Prediction,
    ServerFaultError,
    ServerTimeoutError,
    ServerUnavailableError,
    ServingError,
)

TIMEOUT, MEMORY = 1.0, 50  # seconds, MiB
EXPECTED = [Prediction(("b", "a"), (0.75, 0.25), (1, 0))]
HEAD = b"HTTP/1.1 200 X\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
UNDECODABLE = "images cannot be decoded at the indices (counted from 0) [{}]"
BOMB = gzip.compress(bytes(200 * 2**20))
NAN, INF = float("nan"), float("inf")
REST, GRPC = "answers of a REST server", "answers of a gRPC server"


def mebibytes(field):
    with open("/proc/self/status") as file:
        return next(int(x.split()[1]) / 1024 for x in file if x.startswith(field))


def outcome_of(client, call):
    """What a call gives or raises, once time and memory are known to be right."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew
    before, began = mebibytes("VmRSS"), time.monotonic()
    result = None
    try:
        with client:
            result = client.predict([b"image"]) if call == "predict" else call(client)
    except ServingError as error:
        result = error
    text = str(result)
    assert len(text) < 3000
    assert "hush" not in text
    assert all(c.isprintable() or c == "\n" for c in text), text
    assert time.monotonic() - began < TIMEOUT + 1
    assert mebibytes("VmHWM") - before < MEMORY
    return result


def rest(behaviour, call="predict", user="", **options):
    """What the client makes of a REST server's behaviour, and what that was asked."""
    options = {"timeout": TIMEOUT, "attempts": 1} | options
    with hostile.rest_server(behaviour) as (port, seen):
        url = f"http://{user}127.0.0.1:{port}/v1/models/m"
        return outcome_of(Client(url, **options), call), seen


def rows_of(area, names):
    """The names as parameters, each a row of the table of situations."""
    return [pytest.param(name, marks=situation(area, name)) for name in names]


def told(result):
    kind = type(result).__name__
    return kind if isinstance(result, ServingError) else f"no error, but {result!r}"


REST_BEHAVIOURS = {
    # how long
    "silence": silent,
    "a byte of the body at a time": drips(HEAD + b"Content-Length: 9999\r\n\r\n", b" "),
    "a header at a time": drips(HEAD, b"X: y\r\n"),
    "a byte of the first line at a time": drips(b"HTTP/1.1 200 ", b"O"),
    "100 Continue for ever": drips(b"", b"HTTP/1.1 100 X\r\n\r\n", 0.02),
    "102 Processing for ever": drips(b"", b"HTTP/1.1 102 X\r\n\r\n", 0.02),
    "chunks for ever": drips(CHUNKED, b"1\r\n \r\n"),
    # how much
    "a body of 200 MiB": floods(200),
    "a body of 200 MiB with 500": floods(200, 500, b"x"),
    "200 MiB in gzip": answers(BOMB, Content_Encoding="gzip"),
    "a message of 2 MB": answers({"error": "x" * 2_000_000}, 500),
    "1,000 headers": sends(HEAD + b"X: y\r\n" * 1000 + b"\r\n"),
    "a header of 1 MiB": sends(HEAD + b"X: " + b"y" * 2**20 + b"\r\n\r\n"),
    # broken HTTP
    "closed at once": lambda connection: None,
    "closed within the body": sends(HEAD + b"Content-Length: 1000\r\n\r\n{"),
    "another protocol": sends(b"SSH-2.0-OpenSSH_9\r\n"),
    "a chunk of no size": sends(CHUNKED + b"zz\r\n"),
    "no gzip where it says so": answers(b"plain", Content_Encoding="gzip"),
    "a length of -1": sends(http(b"{}", Content_Length=-1)),
    "a length that is no number": sends(http(b"{}", Content_Length="abc")),
    "two lengths": sends(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "an unknown charset": answers(b"\xff<html>", Content_Type="text/html; charset=no"),
    # where
    **{
        f"a redirect {code} to the same path": sends(
            http(code=code, Location="/v1/models/m:predict")
        )
        for code in (301, 302, 303, 307, 308)
    },
    "a redirect to a file": sends(http(code=307, Location="file:///etc/passwd")),
    # JSON
    "lists 100,000 deep": answers(b"[" * 100_000),
    "objects 100,000 deep": answers(b'{"outputs":' * 100_000),
    "lists 900 deep": answers(b'{"outputs":' + b"[" * 900 + b"]" * 900 + b"}"),
    "a number of 5,000 digits": answers(b'{"outputs": ' + b"1" * 5000 + b"}"),
    "text that is no UTF-8": answers(b'{"outputs": "\xff"}'),
    **{
        f"the answer {json.dumps(value)}": answers(value)
        for value in (None, 1, "x", [], {}, {"outputs": None}, {"outputs": [1]})
    },
    # outputs
    **{
        f"{name} {json.dumps(value)}": outputs(**{name: value})
        for name, values in {
            "probabilities": (
                *([[x, 0.5]] for x in (NAN, INF, 7, -1, None, "1", True, 10**400)),
                *([[[0.5], 0.5]], [], [[]], [[0.5, 0.5]] * 2, "ab", 5),
            ),
            "classes": (
                *([[x, 0]] for x in (-1, 5, 1.0, True, None, "1", 10**30, 0, [1])),
                *([[]], [], [[0, 1]], [[1]], None, {"0": 1}, "a"),
            ),
            "labels": (
                *([[x, "a"]] for x in (None, 3, ["b"])),
                *(["ba"], [["b", "a", "c"]], [["b"]], [], None),
            ),
            "valid": ([None], ["false"], [2], [], True, [[True]]),
        }.items()
        for value in values
    },
    # errors
    **{
        f"the error {json.dumps(value)} with {code}": answers({"error": value}, code)
        for value in (["x"], {"a": 1}, 5, True, None, "")
        for code in (400, 500)
    },
    "an index of 5,000 digits": answers({"error": UNDECODABLE.format("1" * 5000)}, 400),
    "no index": answers({"error": UNDECODABLE.format("   ")}, 400),
    "words that make a search slow": answers(
        {"error": "cannot be decoded at the indices " * 5_000}, 400
    ),
    "half a character": answers(b'{"error": "\\ud800"}', 500),
    "what a terminal obeys": answers({"error": "\x1b[2J\x9b2J\rhere"}, 500),
}


@pytest.mark.parametrize("name", rows_of(REST, REST_BEHAVIOURS))
def test_predictions_by_rest(name, outcome):
    result, seen = rest(REST_BEHAVIOURS[name])
    assert len(seen) == 1
    outcome(told(result))
    assert isinstance(result, ServingError)


STATUS = [
    *({}, {"model_version_status": None}, {"model_version_status": []}),
    *(
        {"model_version_status": [entry]}
        for entry in (
            *(1, {"version": "x", "state": "A"}, {"version": None, "state": "A"}),
            *({"version": 1, "state": 5}, {"version": 1.7, "state": "A"}),
            *({"version": True, "state": "A"}, {"version": 1}),
            {"version": INF, "state": "A"},
            {"version": 1, "state": "A", "status": None},
            {"version": 1, "state": "A", "status": {"error_code": 3}},
        )
    ),
]
INPUT = {"dtype": "D", "tensor_shape": {"dim": [{"size": INF}]}}
METADATA = [
    *({}, {"metadata": None}),
    *(
        {"model_spec": spec, "metadata": {"signature_def": {"signature_def": named}}}
        for spec, named in (
            ({}, {}),
            ({"name": 5, "version": "1"}, {}),
            ({"name": "m", "version": "1"}, []),
            ({"name": "m", "version": "1"}, {"a": {"inputs": {"x": 1}, "outputs": {}}}),
            ({"name": "m", "version": "1"}, {"a": {"inputs": {"x": INPUT}}}),
        )
    ),
]


@pytest.mark.parametrize(
    ("call", "value"),
    [*(("status", value) for value in STATUS), *(("metadata", v) for v in METADATA)],
    ids=json.dumps,
)
def test_status_and_metadata_by_rest(call, value):
    result, _ = rest(answers(value), lambda client: getattr(client, call)())
    assert isinstance(result, ServingError), result


@pytest.mark.parametrize(
    "encoded",
    [json.dumps({"outputs": RIGHT}).encode("utf-16"), b""],
    ids=["UTF-16", ""],
)
def test_right_answers_by_rest(encoded):
    result, _ = rest(answers(encoded) if encoded else outputs(valid=[True]))
    assert result == EXPECTED
    result, _ = rest(outputs(valid=[False], classes=[[-1]], labels=[[""]]))
    assert [prediction.valid for prediction in result] == [False]


def test_a_connection_closed_meanwhile_is_opened_again():
    def behaviour(connection):
        outputs()(connection)
        connection.recv(1)  # the next request, on which the connection is closed

    with hostile.rest_server(behaviour) as (port, seen):
        url = f"http://127.0.0.1:{port}/v1/models/m"
        with Client(url, timeout=TIMEOUT, attempts=1) as client:
            assert [client.predict([b"image"]) for _ in range(3)] == [EXPECTED] * 3
    assert len(seen) == 3


def test_a_server_that_answers_no_more_is_unavailable():
    left = [outputs()]

    def behaviour(connection):
        if left:
            left.pop()(connection)
            connection.recv(1)

    with hostile.rest_server(behaviour) as (port, seen):
        url = f"http://127.0.0.1:{port}/v1/models/m"
        with Client(url, timeout=TIMEOUT, attempts=1) as client:
            assert client.predict([b"image"]) == EXPECTED
            with pytest.raises(ServerUnavailableError, match="Server disconnected"):
                client.predict([b"image"])
    assert len(seen) == 2


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_images_are_not_sent_on_to_another_host(code):
    with hostile.rest_server(outputs()) as (port, others):
        target = f"http://localhost:{port}/v1/models/m:predict"
        result, seen = rest(sends(http(code=code, Location=target)))
    assert isinstance(result, ServingError)
    assert f"answered {code}: the model is elsewhere" in str(result)
    assert (len(seen), others) == (1, [])


@pytest.mark.parametrize(
    "behaviour",
    [
        *(answers({"error": "x"}, code) for code in (400, 404, 500, 503)),
        *(silent, outputs(classes=None), lambda connection: None),
    ],
)
def test_passwords_and_tokens_are_sent_and_not_told(behaviour):
    result, seen = rest(behaviour, user="me:hush@", headers={"X-Token": "hush-hush"})
    assert isinstance(result, ServingError)
    (_, headers, _) = seen[0]
    assert headers["authorization"] == "basic bwu6ahvzaa=="  # me:hush, in lower case
    assert headers["x-token"] == "hush-hush"


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_one_authorization_is_sent_however_it_is_written(name):
    lines = []
    with hostile.rest_server(answers({"error": "x"}, 400), lines=lines) as (port, _):
        url = f"http://me:hush@127.0.0.1:{port}/v1/models/m"
        with (
            Client(url, timeout=TIMEOUT, headers={name: "Bearer mine"}) as client,
            pytest.raises(ServingError),
        ):
            client.predict([b"image"])
    found = [line for line in lines if line.lower().startswith("authorization:")]
    assert [line.partition(": ")[2] for line in found] == ["Bearer mine"]


def test_a_password_of_netrc_is_not_sent_unasked(tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("default login bob password hush\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    result, seen = rest(outputs())
    assert result == EXPECTED
    assert "authorization" not in seen[0][1]
    result, seen = rest(outputs(), headers={"Authorization": "Bearer mine"})
    assert (result, seen[0][1]["authorization"]) == (EXPECTED, "bearer mine")


def test_the_proxy_of_the_environment_is_asked(monkeypatch):
    with hostile.rest_server(outputs()) as (port, seen):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "here")
        client = Client("http://elsewhere/v1/models/m", timeout=TIMEOUT, attempts=1)
        assert outcome_of(client, "predict") == EXPECTED
    assert seen[0][0].startswith("POST http://elsewhere/v1/models/m")


# complex64, resource, variant, qint8, one that there is not
TYPES = (8, 20, 21, 11, 999)
HUGE = [1, 250_000_000]
GRPC_BEHAVIOURS = {
    **{
        f"{name}: {text}": gives(response(**{name: value}))
        for name in ("classes", "labels", "probabilities", "valid")
        for text, value in {
            "not there": None,
            **{f"type {kind}": proto(name, dtype=kind) for kind in TYPES},
            "a value for 250 million": proto(name, sizes=HUGE),
            "10**18 values": proto(name, sizes=[10**9, 10**9]),
            "a negative size": proto(name, sizes=[1, -2]),
            "no rank": proto(name, unknown_rank=True),
            "no axis": proto(name, sizes=[]),
            "20 axes": proto(name, sizes=[1] * 20),
            "no rows": proto(name, sizes=[0, 2]),
            "two rows": proto(name, sizes=[2, 2]),
            "content of a wrong length": proto(name, content=b"abc"),
        }.items()
        if (name, text) != ("valid", "not there")
    },
    **{
        f"{name}: {value}": gives(response(**{name: np.array([value])}))
        for name, values in {
            "probabilities": ([np.nan, 0.5], [np.inf, 0.5], [7, 0.5], [-1, 0.5], [0.5]),
            "classes": ([-1, 0], [5, 0], [0, 0], [0, 1], [1], [0.5, 0]),
            "labels": ([b"a"], [b"a", b"b", b"c"]),
        }.items()
        for value in values
    },
    "probabilities as text": gives(response(probabilities=np.array([[b"1", b"0"]]))),
    "no outputs": gives(b""),
    "bytes that are no message": gives(b"\xff" * 100),
    "a message cut short": gives(response().SerializeToString()[:-5]),
    "a message of 20 MB": gives(response(other=np.zeros(5_000_000, np.float32))),
    "an output of 4 MB that nobody asked for": gives(
        response(other=np.zeros(1_000_000, np.float32))
    ),
    "silence": hostile.sleeps,
    **{
        f"the status {code.name}": hostile.aborts(code, "\x1b[2J" + "x" * 5000)
        for code in grpc.StatusCode
        if code is not grpc.StatusCode.OK
    },
}
TAKEN = {
    "an output of 4 MB that nobody asked for": EXPECTED,
}


@pytest.mark.parametrize("name", rows_of(GRPC, GRPC_BEHAVIOURS))
def test_predictions_by_grpc(name, outcome):
    with hostile.grpc_server(GRPC_BEHAVIOURS[name]) as port:
        client = Client(f"grpc://127.0.0.1:{port}/m", timeout=TIMEOUT, attempts=1)
        result = outcome_of(client, "predict")
    outcome(told(result))
    if name in TAKEN:
        assert result == TAKEN[name]
    else:
        assert isinstance(result, ServingError), result


def packed(value):
    """What stands where the signatures are due."""
    message = metadata()
    if isinstance(value, bytes):
        signatures = get_model_metadata_pb2.SignatureDefMap()
        message.metadata["signature_def"].Pack(signatures)
        message.metadata["signature_def"].value = value
    else:
        message.metadata["signature_def"].Pack(value)
    return message


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("status", b""),
        ("status", b"\xff" * 50),
        ("status", status((1, 77))),
        ("metadata", b""),
        ("metadata", metadata()),
        ("metadata", packed(response())),
        ("metadata", packed(b"\xff" * 50)),
    ],
)
def test_status_and_metadata_by_grpc(call, message):
    with hostile.grpc_server(gives(message)) as port:
        client = Client(f"grpc://127.0.0.1:{port}/m", timeout=TIMEOUT, attempts=1)
        result = outcome_of(client, lambda client: getattr(client, call)())
    assert isinstance(result, ServingError), result


def test_right_answers_by_grpc():
    for changes in ({}, {"valid": None}):
        with hostile.grpc_server(gives(response(**changes))) as port:
            client = Client(f"grpc://127.0.0.1:{port}/m", timeout=TIMEOUT)
            assert outcome_of(client, "predict") == EXPECTED


def of_model(message, name, version):
    message.model_spec.name = name
    if version is not None:
        message.model_spec.version.value = version
    return message


OTHERS = [
    ("n", 3, "model 'n' where model 'm'"),
    ("m", 2, "version '2' where version '3'"),
    ("", 2, "version '2' where version '3'"),
]


@pytest.mark.parametrize(("name", "version", "what"), OTHERS)
def test_answers_by_grpc_of_another_model(name, version, what):
    with hostile.grpc_server(gives(of_model(response(), name, version))) as port:
        client = Client(f"grpc://127.0.0.1:{port}/m/3", timeout=TIMEOUT, attempts=1)
        result = outcome_of(client, "predict")
    assert isinstance(result, ServerFaultError), result
    assert str(result).endswith(f" answered with {what} was asked for.")


@pytest.mark.parametrize(
    ("url", "name", "version"),
    [("m/3", "m", 3), ("m/3", "", None), ("m", "m", 7), ("m/labels/s", "m", 7)],
)
def test_answers_by_grpc_of_the_model(url, name, version):
    with hostile.grpc_server(gives(of_model(response(), name, version))) as port:
        client = Client(f"grpc://127.0.0.1:{port}/{url}", timeout=TIMEOUT, attempts=1)
        assert outcome_of(client, "predict") == EXPECTED


def test_status_and_metadata_of_another_model():
    spec, signatures = {"name": "m", "version": "2"}, {"signature_def": {}}
    told_of = {"model_spec": spec, "metadata": {"signature_def": signatures}}
    entry = {"version": "2", "state": "AVAILABLE"}
    for call, value in (
        (Client.metadata, told_of),
        (Client.status, {"model_version_status": [entry]}),
    ):
        with hostile.rest_server(answers(value)) as (port, _):
            url = f"http://127.0.0.1:{port}/v1/models/m/versions/3"
            result = outcome_of(Client(url, timeout=TIMEOUT, attempts=1), call)
        assert isinstance(result, ServerFaultError), result
        assert "version '2' where version '3' was asked for." in str(result)


def test_rest_over_tls_trusts_what_it_is_told_to():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(hostile.PEM)
    with hostile.rest_server(outputs(), tls) as (port, seen):
        url = f"https://127.0.0.1:{port}/v1/models/m"
        trusting = Client(url, timeout=TIMEOUT, ca_file=hostile.PEM)
        assert outcome_of(trusting, "predict") == EXPECTED
        refused = outcome_of(Client(url, timeout=TIMEOUT), "predict")
    assert isinstance(refused, ServerFaultError)
    assert "`ca_file` (--ca-file) names the certificates to trust" in str(refused)
    assert len(seen) == 1


def test_grpc_over_tls_trusts_what_it_is_told_to_and_sends_headers():
    certificate, key, end = hostile.PEM.read_text().partition("-----BEGIN PRIVATE")
    pair = (f"{key}{end}".encode(), certificate.encode())
    seen = []

    def behaviour(context):
        seen.append(dict(context.invocation_metadata()))
        return response().SerializeToString()

    with hostile.grpc_server(behaviour, grpc.ssl_server_credentials([pair])) as port:
        url, options = (
            f"grpcs://127.0.0.1:{port}/m",
            {"timeout": TIMEOUT, "attempts": 1},
        )
        token = {"Authorization": "Bearer hush"}
        trusting = Client(url, ca_file=hostile.PEM, headers=token, **options)
        assert outcome_of(trusting, "predict") == EXPECTED
        refused = outcome_of(Client(url, **options), "predict")
    assert isinstance(refused, ServerUnavailableError)
    assert [metadata["authorization"] for metadata in seen] == ["Bearer hush"]


def told_by_a_child(work):
    """What a function gives in a forked process, as text; fails after 10 s."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, work().encode())
        finally:
            os._exit(0)
    os.close(writing)
    try:
        assert select.select([reading], [], [], 10)[0], "the child hangs"
        return os.read(reading, 10_000).decode()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)


@pytest.mark.parametrize("protocol", served.SERVERS)
def test_a_client_that_was_made_before_a_fork_says_so(protocol):
    url = served.SERVERS[protocol][1].format(port=1, name="m")
    clients = [Client(url, timeout=TIMEOUT, attempts=1)]

    def work():
        try:
            clients[0].predict([b"image"])
        except ServingError as error:
            found = f"{type(error).__name__}: {error}"
        clients[0].close()
        return found

    message = told_by_a_child(work)
    process = os.getpid()
    assert re.fullmatch(
        r"ClientUnusableError: \w+://127.0.0.1:1: this client was made before the "
        "process forked, and its threads are not in the new process: make a Client "
        rf"there. Received: a client of process {process} in process \d+.",
        message,
    )
    clients.pop().close()


def test_a_forked_process_leaves_the_connections_of_the_first_alone():
    def behaviour(connection):
        outputs()(connection)
        received = b""
        while not received.endswith(b'"}]}}'):
            received += connection.recv(1000)
        outputs()(connection)

    with hostile.rest_server(behaviour) as (port, seen):
        url = f"http://127.0.0.1:{port}/v1/models/m"
        clients = [Client(url, timeout=TIMEOUT, attempts=1)]
        assert clients[0].predict([b"image"]) == EXPECTED

        def work():
            clients.clear()
            return "dropped"

        assert told_by_a_child(work) == "dropped"
        assert clients[0].predict([b"image"]) == EXPECTED
        clients[0].close()
    assert len(seen) == 1


def test_a_loop_that_does_not_run_is_waited_for_no_longer_than_a_margin(monkeypatch):
    monkeypatch.setattr("scalenet_tf.serving.exchange._MARGIN", 0.2, raising=False)
    with Client("http://127.0.0.1:1/v1/models/m", timeout=0.2, attempts=1) as client:
        loop = client._transport._exchange._thread._loop
        loop.call_soon_threadsafe(time.sleep, 3)
        began = time.monotonic()
        with pytest.raises(ServerTimeoutError, match=r"not answer within 0\.2 s\.$"):
            client.predict([b"image"])
        assert time.monotonic() - began < 2
    loop.call_soon_threadsafe(lambda: None)


CLOSED = r"://127\.0\.0\.1:\d+: the client was closed: make another Client\.$"


@contextlib.contextmanager
def silent_server(protocol):
    if protocol == "grpc":
        with hostile.grpc_server(hostile.sleeps) as port:
            yield port
    else:
        with hostile.rest_server(silent) as (port, _):
            yield port


@pytest.mark.parametrize("protocol", served.SERVERS)
def test_closing_ends_what_other_threads_wait_for(protocol):
    caught = []

    def ask(client):
        try:
            client.status()
        except ServingError as error:
            caught.append(error)

    with silent_server(protocol) as port:
        url = served.SERVERS[protocol][1].format(port=port, name="m")
        client = Client(url, timeout=60, attempts=2)
        threads = [
            threading.Thread(target=ask, args=[client], daemon=True) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        client.close()
        for thread in threads:
            thread.join(5)
        assert not any(thread.is_alive() for thread in threads)
        client.close()
        for call in (client.status, client.metadata, lambda: client.predict([b"x"])):
            with pytest.raises(ClientUnusableError, match=CLOSED):
                call()
    assert [type(error) for error in caught] == [ClientUnusableError] * 3
    assert all(re.search(CLOSED, str(error)) for error in caught)


def test_clients_that_nobody_closes_leave_no_threads():
    with hostile.rest_server(outputs()) as (port, _):
        before = {*threading.enumerate()}
        clients = [Client(f"http://127.0.0.1:{port}/v1/models/m") for _ in range(5)]
        for client in clients:
            client.predict([b"image"])
        assert len({*threading.enumerate()} - before) >= 5
        del client
        clients.clear()
        end = time.monotonic() + 10
        while {*threading.enumerate()} - before and time.monotonic() < end:
            time.sleep(0.05)
        assert {*threading.enumerate()} - before == set()
