"""The client of the Open Inference Protocol, as Triton and others speak it."""

import json

import hostile
import numpy as np
import pytest
import served
from hostile import answers, sends
from test_export import NAMES, PHOTOS, TRUNCATED
from test_hostile_servers import EXPECTED

from scalenet_tf import serving
from scalenet_tf.serving import Client, Endpoint, parse_url


@pytest.fixture(params=[1, 2], ids=["rank 1", "rank 2"])
def server(request, repository):
    with served.running("open_inference", repository, rank=request.param) as running:
        yield running


def client(server, name="tiny/versions/1", **options):
    return Client(server.url(name), **{"timeout": 60, "attempts": 3, **options})


@pytest.mark.parametrize(("name", "version"), [("tiny/versions/1", 1), ("tiny", 2)])
def test_images_become_names_and_probabilities(server, repository, name, version):
    arrays = {"image_bytes": np.array(PHOTOS, object)}
    outputs = repository.models["tiny"][version].run("serving_bytes", arrays)
    with client(server, name) as served_model:
        results = served_model.predict(PHOTOS)
        (one,) = served_model.predict(PHOTOS[:1], top_k=1)
    # The shape of the input is asked for once.
    assert server.faults.requests == 3
    assert len(results) == len(PHOTOS)
    assert one.names == results[0].names[:1]
    for row, prediction in enumerate(results):
        classes = list(prediction.classes)
        assert prediction.valid
        assert classes == outputs["classes"][row].tolist()
        assert list(prediction.names) == [NAMES[index] for index in classes]
        np.testing.assert_allclose(
            prediction.probabilities, outputs["probabilities"][row][classes], atol=1e-6
        )


def test_images_that_are_none_are_named_by_index(server):
    images = [*PHOTOS, b"no image", PHOTOS[0], TRUNCATED, b""]
    with (
        client(server, batch_size=4) as served_model,
        pytest.raises(serving.InvalidImageError, match=r"4, 6, 7\.$") as caught,
    ):
        served_model.predict(images)
    assert caught.value.indices == (4, 6, 7)


def test_images_that_are_none_may_be_flagged(server):
    with client(server, "tiny/versions/2") as served_model:
        results = served_model.predict([b"x", PHOTOS[0], TRUNCATED], top_k=1)
    assert [result.valid for result in results] == [False, True, False]


def test_status_and_metadata(repository):
    with (
        served.running("open_inference", repository) as server,
        client(server, "tiny") as served_model,
    ):
        assert served_model.status() == [
            serving.VersionStatus(number, "AVAILABLE", "OK", "") for number in (2, 1)
        ]
        found = served_model.metadata()
    assert (found.name, found.version) == ("tiny", 2)
    (signature,) = found.signatures.values()
    assert [*found.signatures] == ["serving_bytes"]
    assert signature.inputs == {
        "image_bytes": serving.TensorSpec("DT_STRING", (None, 1))
    }
    assert signature.outputs["probabilities"].shape == (None, 10)
    assert signature.outputs["valid"].dtype == "DT_BOOL"


@pytest.mark.parametrize(
    ("ready", "state"),
    [({}, "AVAILABLE"), ({"ready": True}, "AVAILABLE"), ({"ready": False}, "LOADING")],
)
def test_what_a_server_says_of_being_ready(ready, state):
    assert asked(MODEL, ready, call=Client.status)[0].state == state


def test_a_server_that_cannot_say_whether_it_is_ready():
    for code, error in (
        (401, serving.ServerFaultError),
        (503, serving.ServerUnavailableError),
    ):
        denied = hostile.http(b'{"error": "no"}', code)
        found = asked(MODEL, denied, call=Client.status)
        assert type(found) is error
        assert str(code) in str(found)


def test_a_wrong_first_answer_is_not_kept():
    left = [{"status": "starting"}, MODEL, answer()]

    def behaviour(connection):
        answers(left.pop(0))(connection)

    with hostile.rest_server(behaviour) as (port, _):
        url = f"http://127.0.0.1:{port}/v2/models/m"
        with Client(url, attempts=1) as served_model:
            with pytest.raises(serving.ServerFaultError, match="KeyError"):
                served_model.predict([b"image"])
            assert served_model.predict([b"image"]) == EXPECTED


def test_a_version_that_loads_is_not_available(repository):
    with served.running("open_inference", repository) as server:
        server.owner.loading.set()
        with client(server) as served_model:
            (status,) = served_model.status()
    assert (status.version, status.state) == (1, "LOADING")


@pytest.mark.parametrize("name", ["tini", "tiny/versions/7"])
def test_unknown_models_and_versions(server, name):
    with client(server, name) as served_model:
        for call in (lambda: served_model.predict(PHOTOS), served_model.status):
            with pytest.raises(serving.ModelNotFoundError, match=r"404: .*not found"):
                call()


def test_other_signatures_are_refused(server):
    message = "has no signatures: `signature` must be 'serving_bytes'. Received: 'f'"
    with (
        client(server, signature="f") as served_model,
        pytest.raises(serving.SignatureNotFoundError, match=message),
    ):
        served_model.predict(PHOTOS)
    assert server.faults.requests == 0


def test_a_server_that_is_unavailable_is_asked_again(server):
    server.faults.kind, server.faults.remaining = "refuse", 2
    with client(server) as served_model:
        assert served_model.predict(PHOTOS[:1])[0].valid
    assert server.faults.requests == 4


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://h:8000/v2/models/m", Endpoint("http", "h:8000", "m")),
        ("https://h/v2/models/a%20b/", Endpoint("https", "h", "a b")),
        ("http://h/v2/models/m/versions/3", Endpoint("http", "h", "m", 3)),
    ],
)
def test_urls(url, endpoint):
    found = parse_url(url)
    assert found.open_inference
    assert found == Endpoint(
        endpoint.scheme,
        endpoint.address,
        endpoint.name,
        endpoint.version,
        open_inference=True,
    )
    assert found.http_url == url.rstrip("/")


@pytest.mark.parametrize("path", ["models/m/labels/s", "models/m/infer", "m"])
def test_other_urls_are_errors_with_the_forms(path):
    with pytest.raises(ValueError, match=r"/v2/models/NAME.* \(Open Inference Prot"):
        parse_url(f"http://h/v2/{path}")


# What a right server says of the model, and of an image.
MODEL = {
    "name": "m",
    "versions": ["3"],
    "inputs": [{"name": "image_bytes", "datatype": "BYTES", "shape": [-1, 1]}],
    "outputs": [],
}
OUTPUTS = {
    "classes": {"datatype": "INT32", "shape": [1, 2], "data": [1, 0]},
    "labels": {"datatype": "BYTES", "shape": [1, 2], "data": ["b", "a"]},
    "probabilities": {"datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75]},
}


def answer(**changes):
    entries = [
        {"name": name, **OUTPUTS[name], **changes.get(name, {})} for name in OUTPUTS
    ]
    return {"outputs": entries}


def asked(*values, call=lambda client: client.predict([b"image"]), name="m"):
    """What the client makes of a server that answers so, one after the other."""
    left = [sends(v) if isinstance(v, bytes) else answers(v) for v in values]

    def behaviour(connection):
        (left.pop(0) if len(left) > 1 else left[0])(connection)

    with (
        hostile.rest_server(behaviour) as (port, _),
        Client(f"http://127.0.0.1:{port}/v2/models/{name}", attempts=1) as client,
    ):
        try:
            return call(client)
        except serving.ServingError as error:
            return error


def test_a_right_answer_is_taken_flat_or_nested():
    assert asked(MODEL, answer()) == EXPECTED
    nested = {
        "classes": {"data": [[1, 0]]},
        "labels": {"data": [["b", "a"]]},
        "probabilities": {"data": [[0.25, 0.75]]},
    }
    assert asked(MODEL, answer(**nested)) == EXPECTED


@pytest.mark.parametrize(
    "values",
    [
        ({"name": "m"},),
        ([1],),
        ({**MODEL, "inputs": 1},),
        ({**MODEL, "inputs": [{"name": "x", "shape": [1]}]},),
        ({**MODEL, "inputs": [{"name": "image_bytes", "shape": 5}]},),
        (MODEL, {}),
        (MODEL, {"outputs": 1}),
        (MODEL, {"outputs": [1]}),
        (MODEL, answer(classes={"shape": [1, 3]})),
        (MODEL, answer(classes={"shape": [2**62, 4]})),
        (MODEL, answer(classes={"shape": [2**62, 0], "data": []})),
        (MODEL, answer(classes={"shape": [0, 2**62], "data": []})),
        (MODEL, answer(classes={"shape": [-1, -2]})),
        (MODEL, answer(classes={"shape": [1.0, 2.0]})),
        (MODEL, answer(classes={"shape": []})),
        (MODEL, answer(classes={"data": {"a": 1}})),
        (MODEL, answer(classes={"data": [[1], 0]})),
        (MODEL, answer(classes={"data": ["1", "0"]})),
        (MODEL, answer(probabilities={"data": [0.25, 7]})),
        (MODEL, answer(labels={"data": [1, 2]})),
        (MODEL, b"SSH-2.0-OpenSSH_9\r\n"),
    ],
    ids=lambda values: json.dumps(values, default=repr)[-60:],
)
def test_other_answers_are_the_server_s_fault(values):
    assert isinstance(asked(*values), serving.ServerFaultError)


@pytest.mark.parametrize(
    "versions",
    [5, "21", ["a"], ["-5"], [" 1_0 "], ["9" * 5000], [None], [[1]], {"7": 1}],
    ids=lambda value: repr(value)[:9],
)
def test_other_versions_are_the_server_s_fault(versions):
    wrong = {**MODEL, "versions": versions}
    for call in (Client.status, Client.metadata):
        assert isinstance(asked(wrong, call=call), serving.ServerFaultError)


def test_a_server_without_versions():
    without = {name: MODEL[name] for name in MODEL if name != "versions"}
    assert asked(without, call=Client.metadata).version == 0
    assert [one.version for one in asked(without, {}, call=Client.status)] == [0]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"model_name": "n"}, "model 'n' where model 'm'"),
        ({"model_name": 5}, "model '5' where model 'm'"),
        ({"model_name": "m", "model_version": "2"}, "version '2' where version '3'"),
        ({"model_version": 2}, "version '2' where version '3'"),
    ],
)
def test_answers_of_another_model_are_the_server_s_fault(changes, what):
    found = asked(MODEL, answer() | changes, name="m/versions/3")
    assert type(found) is serving.ServerFaultError
    assert str(found).endswith(f" answered with {what} was asked for.")


@pytest.mark.parametrize(
    "changes",
    [
        {"model_name": "m", "model_version": "3"},
        {"model_name": "m", "model_version": 3},
        {"model_version": ""},
        {"model_version": None},
    ],
)
def test_answers_of_the_model_are_taken(changes):
    assert asked(MODEL, answer() | changes, name="m/versions/3") == EXPECTED
    assert asked(MODEL, answer() | changes | {"model_version": "7"}) == EXPECTED


@pytest.mark.parametrize(
    "call", [Client.status, Client.metadata, lambda client: client.predict([b"image"])]
)
def test_another_model_s_description_is_the_server_s_fault(call):
    found = asked({**MODEL, "name": "n"}, {}, call=call)
    assert type(found) is serving.ServerFaultError
    assert str(found).endswith("model 'n' where model 'm' was asked for.")
