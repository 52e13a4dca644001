"""A served model under load."""

import csv

import pytest
import served
from scalenet_training.benchmark.config import LoadConfig
from scalenet_training.benchmark.serving import load
from scalenet_training.benchmark.serving.load import measure_load, same
from scalenet_training.errors import RunError, UsageError

from scalenet_tf.serving import Prediction

pytestmark = pytest.mark.runs


def settings(exports, server, name="tiny", **options):
    options = {"clients": (1, 3), "requests": 12, **options}
    return LoadConfig((str(exports.images),), server.url(name), **options)


def test_every_answer_is_that_to_the_image_alone(exports, server, tmp_path, capsys):
    """Also beside requests that are no images, which version 2 flags."""
    output = tmp_path / "load.csv"
    config = settings(exports, server, broken_every=4, output=str(output))
    rows = measure_load(config)
    assert [(row.clients, row.requests) for row in rows] == [(1, 12), (3, 12)]
    assert [(row.failed, row.wrong) for row in rows] == [(0, 0), (0, 0)]
    for row in rows:
        assert 0 < row.median <= row.percentile_90 <= row.percentile_99 <= row.longest
        assert row.rate > 0
    # Four images and what is none, alone; then twice twelve.
    assert server.faults.requests == 5 + 24
    with open(output, newline="") as file:
        assert [row["requests"] for row in csv.DictReader(file)] == ["12", "12"]
    printed = capsys.readouterr().out
    assert "4 images, one a request" in printed
    assert "answers/s" in printed


@pytest.fixture
def rest(repository):
    with served.running("rest", repository) as running:
        yield running


def test_what_is_refused_stays_so(exports, rest):
    """Version 1 answers what is no image by an error."""
    (row,) = measure_load(
        settings(exports, rest, "tiny/versions/1", clients=(2,), broken_every=2)
    )
    assert (row.failed, row.wrong) == (0, 0)


def test_the_first_answers_are_those_of_the_network_itself(exports, rest, tmp_path):
    run = str(exports.save_run(tmp_path / "run"))  # with the weights of version 1
    one = {"clients": (1,), "requests": 4, "compare": run}
    measure_load(settings(exports, rest, "tiny/versions/1", **one))
    with pytest.raises(RunError, match=r"0\.jpg' is .* to the server, and .* to"):
        measure_load(settings(exports, rest, "tiny/versions/2", **one))


def test_requests_without_an_answer_are_counted(exports, rest, capsys):
    rest.faults.kind, rest.faults.spared, rest.faults.remaining = "error", 5, 3
    with pytest.raises(RunError, match=r"3 requests got no answer, and 0 .* on fire"):
        measure_load(settings(exports, rest, clients=(1,)))
    line = capsys.readouterr().out.splitlines()[-1].split()
    assert (line[:2], line[-2:]) == (["1", "12"], ["3", "0"])


def test_other_answers_are_counted(exports, rest, monkeypatch):
    monkeypatch.setattr(load, "same", lambda one, other: one.probabilities[0] > 2)
    with pytest.raises(RunError, match="0 requests got no answer, and 12 one that"):
        measure_load(settings(exports, rest, clients=(2,)))


def test_without_a_server_nothing_is_measured(exports, rest):
    with pytest.raises(UsageError, match="nobody"):
        measure_load(settings(exports, rest, "nobody"))
    assert rest.faults.requests == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "runs/digits"}, "`model` must be the URL of a served model"),
        ({"requests": 7, "clients": (1, 8)}, "`requests` must be at least 8, one for"),
        ({"clients": (0,)}, "`clients` must be"),
        ({"broken_every": -1}, "`broken_every` must be 0 or more"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    values = {"images": ("a.png",), "model": "http://127.0.0.1:1/v1/models/a"}
    with pytest.raises(UsageError, match=message):
        LoadConfig(**{**values, **options})


def test_what_cannot_be_compared_is_said_before_the_server_is_asked(
    exports, rest, tmp_path
):
    with pytest.raises(UsageError, match="`compare` must be one of"):
        measure_load(settings(exports, rest, compare=str(tmp_path)))
    assert rest.faults.requests == 0


def prediction(*probabilities, classes=None, valid=True):
    classes = tuple(range(len(probabilities)) if classes is None else classes)
    return Prediction(tuple(map(str, classes)), probabilities, classes, valid)


RIGHT = prediction(0.6, 0.3, 0.1)


@pytest.mark.parametrize(
    ("answer", "expected", "agree"),
    [
        (prediction(0.6005, 0.2995, 0.1), RIGHT, True),
        (prediction(0.602, 0.298, 0.1), RIGHT, False),
        (prediction(0.6, 0.3), RIGHT, False),
        (prediction(0.6, 0.3, 0.1, classes=(1, 0, 2)), RIGHT, False),
        (prediction(0.6, 0.3, 0.1, classes=(0, 2, 1)), RIGHT, False),
        (prediction(0.6, 0.3, 0.1, classes=(0, 1, 7)), RIGHT, True),
        (prediction(0.45, 0.45, classes=(1, 0)), prediction(0.45, 0.45), True),
        (prediction(valid=False), RIGHT, False),
        (RIGHT, prediction(valid=False), False),
        (prediction(valid=False), prediction(valid=False), True),
    ],
)
def test_answers_agree_but_for_rounding(answer, expected, agree):
    assert same(answer, expected) is agree
