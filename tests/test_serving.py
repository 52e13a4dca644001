"""The client of TensorFlow Serving, against servers of its two APIs."""

import json
import pathlib
import re
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
import served
from processes import free_ports
from test_export import NAMES, PHOTOS, TRUNCATED

from scalenet_tf import serving
from scalenet_tf.serving import Client, Endpoint, parse_url
from scalenet_tf.serving.endpoint import without_secrets
from scalenet_tf.serving.errors import refused


@pytest.fixture
def rest(repository):
    with served.running("rest", repository) as running:
        yield running


def client(server, name="tiny/versions/1", **options):
    return Client(server.url(name), **{"timeout": 60, "attempts": 3, **options})


def expected(repository, version, photos=PHOTOS):
    arrays = {"image_bytes": np.array(photos, object)}
    return repository.models["tiny"][version].run("serving_bytes", arrays)


def test_images_become_names_and_probabilities(server, repository):
    outputs = expected(repository, 1)
    with client(server) as served_model:
        results = served_model.predict(PHOTOS)
    assert len(results) == 4
    for row, prediction in enumerate(results):
        assert prediction.valid
        classes = list(prediction.classes)
        assert classes == outputs["classes"][row].tolist()
        assert list(prediction.names) == [NAMES[index] for index in classes]
        np.testing.assert_allclose(
            prediction.probabilities, outputs["probabilities"][row][classes], atol=1e-6
        )
    assert server.faults.requests == 1


def test_large_batches_are_split_and_few_classes_are_enough(server):
    with client(server) as whole, client(server, batch_size=3) as split:
        results = split.predict(PHOTOS, top_k=2)
        assert server.faults.requests == 2
        for one, all_named in zip(results, whole.predict(PHOTOS), strict=True):
            assert one.names == all_named.names[:2]
            np.testing.assert_allclose(
                one.probabilities, all_named.probabilities[:2], atol=1e-6
            )
        assert split.predict([]) == []
        for top_k, message in ((6, r"at most 5: .* 10 classes.*=6"), (0, "at least 1")):
            with pytest.raises(ValueError, match=f"`top_k` must be {message}"):
                split.predict(PHOTOS, top_k)


def test_a_version_is_chosen_by_number_by_label_or_is_the_latest(server, repository):
    names = {"": 2, "/versions/1": 1, "/versions/2": 2, "/labels/stable": 1}
    names |= {"/labels/canary": 2}
    if server.protocol == "grpc":
        names |= {"/1": 1, "/2": 2}
    for suffix, version in names.items():
        with client(server, f"tiny{suffix}") as served_model:
            (prediction,) = served_model.predict(PHOTOS[:1])
            number = served_model.metadata().version
            versions = [status.version for status in served_model.status()]
        classes = expected(repository, version, PHOTOS[:1])["classes"]
        assert list(prediction.classes) == classes[0].tolist()
        assert (prediction.classes[0] == 3) == (version == 2)
        assert number == version
        assert versions == ([version] if suffix else [2, 1])


def test_status_and_metadata(server):
    with client(server, "tiny") as served_model:
        assert served_model.status() == [
            serving.VersionStatus(version, "AVAILABLE", "OK", "") for version in (2, 1)
        ]
        metadata = served_model.metadata()
    assert (metadata.name, metadata.version) == ("tiny", 2)
    assert {*metadata.signatures} == {
        "serving_default",
        "serving_uint8",
        "serving_bytes",
        "features",
    }
    signature = metadata.signatures["serving_bytes"]
    assert signature.inputs == {"image_bytes": serving.TensorSpec("DT_STRING", (None,))}
    assert signature.outputs["valid"].dtype == "DT_BOOL"
    assert signature.outputs["probabilities"].shape == (None, 10)


@pytest.mark.parametrize("corrupt", [b"no image", b"", TRUNCATED], ids=len)
def test_images_that_are_none_are_named_by_index(server, corrupt):
    images = [*PHOTOS, corrupt, PHOTOS[0], corrupt]
    with client(server, batch_size=4) as served_model:
        message = r"indices \(counted from 0\) 4, 6\.$"
        with pytest.raises(serving.InvalidImageError, match=message) as caught:
            served_model.predict(images)
    assert caught.value.indices == (4, 6)
    assert server.faults.requests == 2  # what is wrong is not asked again


def test_images_that_are_none_may_be_flagged(server):
    with client(server, "tiny/versions/2") as served_model:
        results = served_model.predict([b"x", PHOTOS[0], TRUNCATED], top_k=1)
    assert [result.valid for result in results] == [False, True, False]
    assert results[0] == serving.Prediction((), (), (), valid=False)
    assert results[1].names == (NAMES[3],)


def test_an_image_of_another_request_is_not_taken_for_an_own_one(server, monkeypatch):
    def joined(*_):
        raise refused("here", "cannot be decoded at the indices (of 0)] [5]")

    with client(server) as served_model:
        monkeypatch.setattr(served_model._transport, "predict", joined)
        with pytest.raises(serving.RequestRefusedError, match="on_corrupt='flag'"):
            served_model.predict(PHOTOS)
        assert len(served_model.status()) == 1


@pytest.mark.parametrize("url", ["http://h/v1/models/m", "grpc://h/m"])
@pytest.mark.parametrize(
    ("images", "received"),
    [
        ([b"a", "cat.jpg"], "str at index 1"),
        ([pathlib.Path("cat.jpg")], "PosixPath at index 0"),
        ("cat.jpg", "str at index 0"),
        (b"abc", "int at index 0"),
    ],
)
def test_images_must_be_bytes(url, images, received):
    message = "`images` must be bytes each, the content of a file. Received: "
    with (
        Client(url, attempts=1, timeout=0.5) as served_model,
        pytest.raises(ValueError, match=f"^{message}{received}\\.$"),
    ):
        served_model.predict(images)


def calls(served_model):
    return (
        lambda: served_model.predict(PHOTOS[:1]),
        served_model.status,
        served_model.metadata,
    )


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_a_dead_server(protocol):
    (port,) = free_ports(1)
    running = served.Running(protocol, port, None)
    with client(running, attempts=2) as served_model:
        for call in calls(served_model):
            message = rf"127.0.0.1:{port} is unavailable: .*refused.* \(2 attempts\)"
            with pytest.raises(serving.ServerUnavailableError, match=message):
                call()


def test_a_server_that_is_unavailable_is_asked_again(server):
    server.faults.kind, server.faults.remaining = "refuse", 2
    with client(server) as served_model:
        assert served_model.predict(PHOTOS[:1])[0].valid
        assert server.faults.requests == 3
        server.faults.remaining = float("inf")
        message = r"the server is starting \(3 attempts\)"
        with pytest.raises(serving.ServerUnavailableError, match=message):
            served_model.status()
        assert server.faults.requests == 6


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("slow", serving.ServerTimeoutError, r"did not answer within 0\.3 s"),
        ("error", serving.ServerFaultError, "(500|INTERNAL): the disk is on fire"),
        ("garbage", serving.ServerFaultError, "answered (with|without)|did not answer"),
    ],
)
def test_faults_are_not_asked_again(server, fault, error, message):
    server.faults.kind = fault
    with client(server, timeout=0.3 if fault == "slow" else 60) as served_model:
        for count, call in enumerate(calls(served_model), start=1):
            with pytest.raises(error, match=message):
                call()
            assert server.faults.requests == count


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tini", r"NOT_FOUND|404"),
        ("tiny/versions/7", r"NOT_FOUND|404"),
        ("tiny/labels/best", "version label: best"),
    ],
)
def test_unknown_models_versions_and_labels(server, name, message):
    with client(server, name) as served_model:
        for count, call in enumerate(calls(served_model), start=1):
            with pytest.raises(serving.ModelNotFoundError, match=message):
                call()
            assert server.faults.requests == count


def test_a_signature_that_is_not_there_or_another(server):
    for name, error, message in (
        ("serving_strings", serving.SignatureNotFoundError, "serving_strings"),
        ("features", serving.RequestRefusedError, "image"),
    ):
        with (
            client(server, signature=name) as served_model,
            pytest.raises(error, match=message),
        ):
            served_model.predict(PHOTOS)
    assert server.faults.requests == 2


def test_answers_above_4_megabytes_are_taken(repository, monkeypatch):
    wide = {
        "probabilities": np.zeros((1, 1_200_000), np.float32),
        "classes": np.array([[0]]),
        "labels": np.array([[b"a"]]),
    }
    monkeypatch.setattr(repository.models["tiny"][1], "run", lambda *_: wide)
    with served.running("grpc", repository) as running, client(running) as served_model:
        (prediction,) = served_model.predict([b"x" * 5_000_000])
    assert prediction.names == ("a",)


GRPC, HTTP = Endpoint("grpc", "host:8500", "m"), Endpoint("http", "host:8501", "m")


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://host:8501/v1/models/m", HTTP),
        ("http://host:8501/v1/models/m/", HTTP),
        ("https://h/v1/models/m/versions/12", Endpoint("https", "h", "m", version=12)),
        ("http://[::1]:1/v1/models/a%20b", Endpoint("http", "[::1]:1", "a b")),
        ("http://h/v1/models/m/labels/s", Endpoint("http", "h", "m", label="s")),
        ("grpc://host/m", GRPC),
        ("grpc://host:8500/m", GRPC),
        ("grpc://h:1/m/3", Endpoint("grpc", "h:1", "m", version=3)),
        ("grpc://h:1/m/versions/3", Endpoint("grpc", "h:1", "m", version=3)),
        ("grpc://h:1/m/labels/s", Endpoint("grpc", "h:1", "m", label="s")),
    ],
)
def test_urls(url, endpoint):
    assert parse_url(url) == endpoint
    if endpoint.scheme != "grpc":
        assert endpoint.http_url == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "host:8501",
        "ftp://host/m",
        "http://host/m",
        "http://host:8501/v1/models/",
        "http://host:8501/v1/models/m:predict",
        "http://host:8501/v1/models/m/versions/one",
        "http://host:8501/v1/models/m/versions/1/labels/a",
        "http://host:8501/v1/models/m?x=1",
        "http:///v1/models/m",
        "http://host:port/v1/models/m",
        "http://[::1/v1/models/m",
        "grpc://host:8500",
        "grpc://host:8500/m/stable",
        "grpc://host:8500/v1/models/m",
    ],
)
def test_other_urls_are_errors_with_the_forms(url):
    with pytest.raises(ValueError, match=r"must be http\[s\]://HOST.*grpc\[s") as error:
        Client(url)
    assert repr(url.replace("x=1", "...")) in str(error.value)


@pytest.mark.parametrize("option", ["timeout", "attempts", "batch_size"])
@pytest.mark.parametrize("value", [0, float("inf"), float("nan")])
def test_options_that_cannot_be_are_errors(option, value):
    message = f"`{option}` must be more than 0, and finite. Received: {value}"
    with pytest.raises(ValueError, match=message):
        Client("grpc://host/m", **{option: value})


@pytest.mark.parametrize("option", ["timeout", "attempts", "batch_size"])
@pytest.mark.parametrize("value", ["3", None, True])
def test_options_that_are_no_numbers_are_errors(option, value):
    message = f"^`{option}` must be a number. Received: {value!r}.$"
    with pytest.raises(ValueError, match=message):
        Client("grpc://host/m", **{option: value})


@pytest.mark.parametrize("option", ["attempts", "batch_size"])
def test_counts_must_be_whole(option):
    message = rf"^`{option}` must be a whole number. Received: 2\.5\.$"
    with pytest.raises(ValueError, match=message):
        Client("grpc://host/m", **{option: 2.5})
    Client("grpc://host/m", timeout=2.5, **{option: np.int64(2)}).close()


def test_top_k_must_be_whole():
    message = r"^`top_k` must be a whole number. Received: top_k=1\.5\.$"
    with (
        Client("grpc://host/m") as served_model,
        pytest.raises(ValueError, match=message),
    ):
        served_model.predict([b"x"], top_k=1.5)


@pytest.mark.parametrize(
    "headers", [{"x-a-bin": "hush"}, {"X-Bin": "a"}, {"x": "hushé"}]
)
def test_headers_that_grpc_does_not_take_are_errors(headers):
    (name,) = headers
    message = (
        "^`headers` to a gRPC server must have names that do not end in '-bin', and "
        f"values of ASCII characters. Received: a header {name!r}.$"
    )
    with pytest.raises(ValueError, match=message):
        Client("grpc://host/m", headers=headers)
    Client("http://host/v1/models/m", headers=headers).close()


def test_a_header_that_is_given_twice_is_an_error():
    headers = {"Authorization": "hush", "X": "y", "authorization": "hush"}
    message = (
        "^`headers` must have each name once, whether in capital letters or small "
        "ones. Received: 'authorization' again.$"
    )
    for url in ("grpc://host/m", "http://host/v1/models/m"):
        with pytest.raises(ValueError, match=message):
            Client(url, headers=headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"x": 5},
        {5: "x"},
        {"x": b"hush"},
        {"a b": "c"},
        {"": "c"},
        {"a": "hush\r\nx: y"},
    ],
)
def test_headers_that_cannot_be_are_errors_without_their_values(headers):
    with pytest.raises(ValueError, match="`headers` must have names of") as error:
        Client("http://host/v1/models/m", headers=headers)
    assert "hush" not in str(error.value)


@pytest.mark.parametrize("url", ["https://host/v1/models/m", "grpcs://host/m"])
def test_certificates_that_cannot_be_read_are_errors(url, tmp_path):
    path = tmp_path / "none.pem"
    with pytest.raises(ValueError, match=r"`ca_file` must be .*none\.pem'"):
        Client(url, ca_file=path)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:hush@h/v1/models/m", "http://...@h/v1/models/m"),
        ("http://h/m?token=hush", "http://h/m?..."),
        ("grpc://me:hush@h/m", "grpc://...@h/m"),
        ("http://me:hu/sh@h/m", "http://...@h/m"),
    ],
)
def test_secrets_in_a_url_are_not_told(url, shown):
    assert without_secrets(url) == shown
    assert "hush" not in repr(parse_url("http://me:hush@h/v1/models/m"))
    if url != "http://me:hush@h/v1/models/m":
        with pytest.raises(ValueError, match=re.escape(repr(shown))):
            Client(url)


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("tenacity", "tenacity"),
        ("aiohttp", "aiohttp"),
        ("grpc", "grpcio"),
        ("tensorflow_serving.apis.predict_pb2", "tensorflow-serving-api"),
    ],
)
def test_missing_packages_are_errors_with_the_command(module, package, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    scheme = "http://h/v1/models/m" if module == "aiohttp" else "grpc://h/m"
    message = rf"package {package}: pip install 'scalenet_tf\[serving\]'"
    with pytest.raises(ImportError, match=message):
        Client(scheme)


def exchange(url, body):
    """Code and JSON of the answer to a POST."""
    try:
        with urllib.request.urlopen(url, body, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_rest_server_speaks_as_documented(rest):
    def post(body, path="tiny/versions/1:predict"):
        return exchange(rest.url(path), json.dumps(body).encode())

    zeros = np.zeros((2, 32, 32, 3)).tolist()
    code, rows = post({"instances": zeros})
    assert code == 200
    assert [*map(len, rows["predictions"])] == [4, 4]
    _, named = post({"instances": [{"images": x} for x in zeros]})
    _, columns = post({"inputs": {"images": zeros}})
    _, plain = post({"inputs": zeros})
    assert plain == columns
    for key, values in columns["outputs"].items():
        assert [row[key] for row in rows["predictions"]] == values
        assert [row[key] for row in named["predictions"]] == values
    # One output has no name.
    _, features = post({"signature_name": "features", "instances": zeros})
    assert np.shape(features["predictions"]) == (2, 32)
    _, features = post({"signature_name": "features", "inputs": zeros})
    assert np.shape(features["outputs"]) == (2, 32)
    for body, message in [
        ({"instances": zeros, "inputs": zeros}, "only one of"),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"instances": []}, "No values"),
        ({"inputs": {"image": zeros}}, "Missing named input: images"),
        ({"signature_name": 1, "instances": zeros}, "must be a string"),
        ({"signature_name": "serving_bytes", "inputs": {"b64": "%"}}, "JSON Value"),
        ([], "Is not object"),
    ]:
        code, content = post(body)
        assert code == 400
        assert message in content["error"]
    code, content = post({}, "tiny:classify")
    assert (code, content["error"][:17]) == (400, "Malformed request")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{rest.port}/", timeout=60)
