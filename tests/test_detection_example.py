"""The example of a detector: pictures, precision, table, a short training."""

import csv
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from processes import ROOT, TRAINING, environment

FOLDER = pathlib.Path(ROOT, "examples", "detection")
RESULTS = pathlib.Path(ROOT, "results", "detection", "results.csv")


@pytest.fixture
def shapes(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return pytest.importorskip("shapes")


@pytest.fixture
def average_precision(monkeypatch):
    pytest.importorskip("pycocotools", reason="needs pycocotools")
    monkeypatch.syspath_prepend(FOLDER)
    from precision import average_precision

    return average_precision


def test_a_picture_depends_on_its_seed_and_number_alone(shapes):
    pixels, boxes = shapes.pictures(3, 10, 4)
    assert (pixels.shape, pixels.dtype) == ((4, 128, 128, 3), np.uint8)
    for index in range(4):
        one, box, label = shapes.picture(3, 10 + index)
        np.testing.assert_array_equal(one, pixels[index])
        np.testing.assert_array_equal(box, boxes["boxes"][index])
        np.testing.assert_array_equal(label, boxes["labels"][index])
    assert (shapes.picture(4, 10)[0] != pixels[0]).any()


def test_boxes_hold_their_shapes_and_no_more(shapes, monkeypatch):
    """Where noise and the other shapes are away, what differs is in the box."""
    monkeypatch.setattr(shapes, "MOST", 1)
    found = set()
    for number in range(40):
        pixels, boxes, labels = shapes.picture(0, number)
        (top, left, bottom, right), label = boxes[0], int(labels[0])
        found.add(label)
        assert 14 <= bottom - top <= 72
        assert bottom - top == pytest.approx(right - left, abs=1e-3)
        mask = shapes._mask(shapes.CLASSES[label], boxes[0]) > 0.5
        rows, columns = np.nonzero(mask)
        edges = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        # A disc and the corners of a triangle touch an edge in a point.
        np.testing.assert_allclose(edges, boxes[0], atol=2.5)
        assert np.abs(pixels[mask].mean(0) - pixels[~mask].mean(0)).max() > 5
    assert found == {0, 1, 2}


def test_rows_without_a_shape_are_marked(shapes):
    _, boxes = shapes.pictures(0, 0, 30)
    empty = boxes["labels"] < 0
    assert 0 < empty.mean() < 1
    assert (boxes["boxes"][empty] == -1).all()
    assert (boxes["boxes"][~empty] >= 0).all()
    assert (boxes["boxes"][~empty] <= shapes.SIDE).all()


def test_average_precision(shapes, average_precision):
    """Of all boxes, of the wrong class, moved, and of every second picture."""
    _, truth = shapes.pictures(0, 0, 40)
    scores = np.where(truth["labels"] < 0, 0.0, 0.9)
    found = {**truth, "confidence": scores}
    perfect = average_precision(truth, found, shapes.CLASSES)
    assert perfect == {"ap": 1.0, "ap50": 1.0, "ap75": 1.0}
    nothing = {**found, "confidence": 0 * scores}
    assert average_precision(truth, nothing, shapes.CLASSES)["ap50"] == 0
    wrong = {**found, "labels": (truth["labels"] + 1) % 3}
    assert average_precision(truth, wrong, shapes.CLASSES)["ap50"] == 0
    # Moved by a quarter of the side: an IoU of 0.6.
    moved = found["boxes"].copy()
    side = moved[:, :, 2:3] - moved[:, :, :1]
    moved[:, :, ::2] += 0.25 * side
    shifted = average_precision(truth, {**found, "boxes": moved}, shapes.CLASSES)
    assert (shifted["ap50"], shifted["ap75"]) == (1.0, 0.0)
    half = {**found, "confidence": scores * (np.arange(40) % 2)[:, None]}
    assert average_precision(truth, half, shapes.CLASSES)["ap50"] == pytest.approx(
        0.5, abs=0.1
    )


def test_the_table_of_the_docs_is_that_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from summary import table

    expected = table(str(RESULTS))
    assert expected in pathlib.Path(ROOT, "docs", "kerashub.md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], "both networks must have the same seeds"),
        (lambda rows: [*rows, rows[0]], "rows must differ in model or seed"),
        (lambda rows: [*rows[:-1], {**rows[-1], "steps": "20"}], "not in steps"),
    ],
)
def test_a_table_of_other_runs_is_refused(change, message, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from summary import table

    with RESULTS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(change(rows))
    with pytest.raises(ValueError, match=message):
        table(str(tmp_path / "rows.csv"))


def on_one_core():
    """On several, sums come in an order that differs from run to run."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def run(*arguments):
    paths = [ROOT, TRAINING, os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, str(FOLDER / "detector.py"), *map(str, arguments)],
        env=environment(PYTHONPATH=os.pathsep.join(paths)),
        capture_output=True,
        text=True,
        preexec_fn=on_one_core,
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", ["scalenet", "resnet"])
def test_the_example_trains_saves_and_adds_a_row(model, tmp_path, shapes, monkeypatch):
    pytest.importorskip("keras_hub", reason="needs keras-hub")
    pytest.importorskip("pycocotools", reason="needs pycocotools")
    results, saved = tmp_path / "results.csv", tmp_path / "detector.keras"
    options = ("--model", model, "--steps", 20, "--results", results, "--save", saved)
    for _ in range(2):
        done = run(*options)
        assert done.returncode == 0, done.stderr
    assert "a row was added to" in done.stdout
    assert "import detector" in done.stdout
    with results.open(newline="") as file:
        first, second = csv.DictReader(file)
    for name in ("model", "seed", "steps", "detector_parameters", "ap50"):
        assert first[name] == second[name]
    monkeypatch.syspath_prepend(FOLDER)
    import detector as example

    detector = keras.saving.load_model(saved)
    assert isinstance(detector, example.Detector)
    found = detector.predict(shapes.pictures(0, 0, 2)[0], verbose=0)
    assert found["boxes"].shape == (2, 100, 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seed", 1_000_000), "--seed must be from 0 to 999,999. Received: 1000000."),
        (("--steps", 5), "--steps must be at least 20. Received: 5."),
        (("--save", "a.h5"), "--save must end with .keras. Received: 'a.h5'."),
        (("--save", "none/a.keras"), "--save must be in a folder that exists."),
        (("--model", "vgg"), "--model: invalid choice: 'vgg'"),
    ],
)
def test_the_example_refuses(options, message, tmp_path):
    pytest.importorskip("keras_hub", reason="needs keras-hub")
    pytest.importorskip("pycocotools", reason="needs pycocotools")
    done = run(*options, "--results", tmp_path / "results.csv")
    assert done.returncode == 2
    assert message in done.stderr
    assert not [*tmp_path.iterdir()]
