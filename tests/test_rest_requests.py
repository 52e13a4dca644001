"""Wrong requests by REST, to a process that answers as TensorFlow Serving does."""

import json
import urllib.error
import urllib.request

import feeding
import numpy as np
import pytest
from processes import TESTS, start
from random_requests import random_json
from situations import situation
from test_export import SIGNATURES

pytestmark = pytest.mark.processes

AREA = "requests to a server"
SHAPE = "is not compatible with expected shape [?,32,32,3]"


@pytest.fixture(scope="module")
def url(exports):
    """Of the model `tiny`, on a process that answers by REST."""
    process = start(
        [f"{TESTS}/serving_rest.py", str(exports.repository), "--port", "0"]
    )
    try:
        lines = iter(process.stdout.readline, "")
        port = next(line.split()[1] for line in lines if line.startswith("port "))
        yield f"http://127.0.0.1:{port}/v1/models/tiny:predict"
        assert process.poll() is None
    finally:
        process.terminate()
        process.communicate()


def post(url, body):
    """The HTTP code and the JSON of an answer."""
    request = urllib.request.Request(url, body.encode())
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


ONE_IMAGE = str([[[[0.5] * 3] * 32] * 32])
REST = {
    '{"instances": [[1, 2]]}': ('{"instances": [[1, 2]]}', SHAPE),
    '{"instances": [1]}': ('{"instances": [1]}', SHAPE),
    "lists of different lengths": ('{"instances": [[1, 2], [3]]}', "JSON Value"),
    "null": ('{"instances": [null]}', ""),
    "strings": ('{"instances": ["a"]}', "JSON Value"),
    "no instances": ('{"instances": []}', "No values in 'instances' array"),
    "no JSON": ("{", "JSON Parse error"),
    "the number 1e400": (
        f'{{"instances": {ONE_IMAGE.replace("0.5", "1e400", 1)}}}',
        "means of the squares, at most 18.1, of] [inf]",
    ),
    "an integer of 400 digits": (f'{{"instances": [[{"9" * 400}]]}}', "JSON Value"),
    "pixels": (
        f'{{"instances": {ONE_IMAGE.replace("0.5", "200")}}}',
        "pixels from 0 to 255 must go through preprocess_input",
    ),
}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(
            *entry, marks=situation(AREA, f"REST, `serving_default`: {name}"), id=name
        )
        for name, entry in REST.items()
    ],
)
def test_wrong_requests_by_rest_are_refused(url, body, reason, outcome):
    code, content = post(url, body)
    assert code == 400
    message = feeding.words(content["error"].partition("\n")[0])
    assert reason in message
    code, content = post(url, f'{{"instances": {ONE_IMAGE}}}')
    assert code == 200
    assert np.isfinite(content["predictions"][0]["logits"]).all()
    by_model = message.startswith(("`images`", "Shape of tensor"))
    outcome(f"400: {message}" if by_model else "400: the model is not asked")


def test_1000_random_json_bodies_are_answered_or_refused(url):
    rng = np.random.default_rng(0)
    codes = set()
    for number in range(1000):
        signature = SIGNATURES[number % len(SIGNATURES)]
        key = ("instances", "inputs")[number % 3 == 0]
        body = {"signature_name": signature, key: random_json(rng)}
        # Python writes no numbers that are too large for it; a client may.
        text = json.dumps(body).replace("1e+308", "1e400")
        code, content = post(url, text)
        codes.add(code)
        assert code in (200, 400), (text, content)
        if number % 10 == 0:
            assert post(url, f'{{"instances": {ONE_IMAGE}}}')[0] == 200
    assert 400 in codes
