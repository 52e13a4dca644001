"""`evaluate --report`: the numbers, the pictures, the page, the folder."""

import contextlib
import csv
import errno
import html.parser
import json
import os
import types

import image_folders
import keras
import numpy as np
import pytest
import scipy.special
import sklearn.metrics
from conftest import TINY_CIFAR, unpack_written
from scalenet_training.cli.app import run_command
from scalenet_training.evaluate.report import suspects, writing
from scalenet_training.evaluate.report.calibration import (
    confidences,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from scalenet_training.evaluate.report.classes import class_figures, macro_averages
from scalenet_training.evaluate.report.confusion import most_confused, neighbouring
from scalenet_training.evaluate.report.grad_cam import grad_cam
from scalenet_training.evaluate.report.predictions import MOST_ERRORS, Collector
from scalenet_training.evaluate.subject import Subject
from situations import situation
from test_commands import in_process

import scalenet_tf
from scalenet_tf.preprocessing import EvaluationTransform

# Names that a page, a table or a figure could take for something else.
HOSTILE = ("<script>alert(1)</script>".replace("/", "|"), 'a"b&c', "$x$ ^_{", "日本")
PROBABILITIES = ("predicted_probability", "true_probability")


def read(folder, name):
    """The rows of a CSV file of a report."""
    with open(os.path.join(folder, name), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(rows, name):
    return np.array([float(row[name]) for row in rows])


@pytest.fixture
def report(monkeypatch, capsys):
    """Evaluates in this process, with a report: exit code, stdout, stderr."""

    def run(model, *options, to="report"):
        arguments = ["evaluate.py", str(model), *map(str, options), "--report", str(to)]
        code = in_process(monkeypatch, *arguments)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of classes with hostile names, a network for them; its options."""
    monkeypatch.chdir(tmp_path)
    image_folders.make(tmp_path / "photos", HOSTILE, count=4)
    keras.utils.set_random_seed(1)
    scalenet_tf.ScaleNet(TINY_CIFAR, classes=len(HOSTILE)).save("net.keras")
    options = ["--dataset", "photos", "--eval-split", "all", "--eval-resize", "32"]
    return ["net.keras", *options, "--normalization", "centered"]


def collected(labels, logits, images=None, names=None, batch=7):
    """What a collector has of an evaluation in batches."""
    labels, logits = np.asarray(labels), np.asarray(logits, np.float32)
    if images is None:
        images = np.arange(len(labels) * 12, dtype=np.float32).reshape(-1, 2, 2, 3)
    names = names or tuple(map(str, range(logits.shape[1])))
    source = types.SimpleNamespace(class_names=names, images=None, name="made")
    split = types.SimpleNamespace(size=len(labels))
    transform = EvaluationTransform(2, 2, "none")
    collector = Collector()
    collector.begin(Subject("made", source, "all", split, transform))
    for start in range(0, len(labels), batch):
        own = slice(start, start + batch)
        collector.see(images[own], labels[own], logits[own])
    return collector


def random_predictions(examples=300, classes=7, seed=0):
    """Labels, and logits that often agree with them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=examples)
    logits = rng.normal(size=(examples, classes)) * 2
    logits[np.arange(examples), labels] += 2
    return labels, logits


REPORTED = {
    "of a run": ["run"],
    "of a run, one device": ["run", "--strategy", "none", "--batch-size", "10"],
    "savedmodel": ["repo/tiny/1"],
    "tflite": ["repo/tiny/tflite/1/tiny-float32.tflite"],
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The folder with the reports of a run, and of exports of its network."""
    folder = tmp_path_factory.mktemp("reports")
    unpack_written(folder)
    with contextlib.chdir(folder):
        for name, arguments in REPORTED.items():
            run_command("evaluate", [*arguments, "--report", name + "/"], "evaluate")
    return folder


def test_the_numbers_are_those_of_scikit_learn(reports):
    folder = reports / "of a run"
    rows = read(folder, "predictions.csv")
    assert [row["example"] for row in rows] == [str(n) for n in range(64)]
    labels, predicted = column(rows, "true_class"), column(rows, "predicted_class")
    expected = sklearn.metrics.classification_report(
        labels, predicted, labels=range(10), output_dict=True, zero_division=np.nan
    )
    for row in read(folder, "classes.csv"):
        own = expected[row["class"]]
        assert int(row["support"]) == own["support"]
        for name, key in (("precision",) * 2, ("recall",) * 2, ("f1", "f1-score")):
            found = float(row[name]) if row[name] else np.nan
            assert found == pytest.approx(own[key], abs=1e-7, nan_ok=True)
    told = json.loads((folder / "report.json").read_text())
    assert told["accuracy"] == np.mean(labels == predicted) == 1 - told["top1_error"]
    assert told["macro"]["recall"] == pytest.approx(
        sklearn.metrics.balanced_accuracy_score(labels, predicted)
    )
    assert told["calibration"]["nll"] == told["loss"]
    assert told["trained_on"] == 0
    assert len(bytes.fromhex(told["network_sha256"])) == 32
    told = json.loads((reports / "tflite" / "report.json").read_text())
    assert told["trained_on"] is told["network_sha256"] is None
    table = read(folder, "confusion.csv")
    order = [int(row["true class"]) for row in table]
    assert sorted(order) == list(range(10))
    counts = [[int(row[str(name)]) for name in order] for row in table]
    matrix = sklearn.metrics.confusion_matrix(labels, predicted, labels=order)
    np.testing.assert_array_equal(counts, matrix)


@pytest.mark.parametrize("other", [name for name in REPORTED if name != "of a run"])
def test_devices_and_exports_give_the_same_predictions(other, reports):
    run, rows = (
        read(reports / name, "predictions.csv") for name in ("of a run", other)
    )
    for name in (*PROBABILITIES, "true_class", "predicted_class"):
        np.testing.assert_allclose(column(rows, name), column(run, name), atol=1e-5)


def test_an_export_has_no_gradients_and_no_run(reports):
    assert set(os.listdir(reports / "of a run")) == writing.FILES
    assert set(os.listdir(reports / "savedmodel")) == writing.FILES - {"curves.png"}
    pages = [
        (reports / n / "report.html").read_text() for n in ("of a run", "savedmodel")
    ]
    assert ["Grad-CAM" in page for page in pages] == [True, False]
    assert ["<h2>Training</h2>" in page for page in pages] == [True, False]


@pytest.mark.runs
def test_probabilities_are_those_of_predict(photos, report, monkeypatch, capsys):
    code, _, err = report(*photos)
    assert code == 0, err
    options = [
        "--model",
        photos[0],
        "--normalization",
        "centered",
        "--eval-resize",
        "32",
    ]
    asked = ["predict.py", "photos", *options, "--top-k", "4", "--json"]
    assert in_process(monkeypatch, *asked) == 0
    predicted = {
        os.path.relpath(entry["file"], "photos"): entry["predictions"]
        for entry in json.loads(capsys.readouterr().out)
    }
    rows = read("report", "predictions.csv")
    assert len(rows) == len(predicted) == 16
    for row in rows:
        likeliest, *_ = ranked = predicted[row["example"]]
        assert int(row["predicted_class"]) == likeliest["class"]
        assert row["true_name"] == os.path.dirname(row["example"])
        by_class = {one["class"]: one["probability"] for one in ranked}
        for which in ("predicted", "true"):
            expected = by_class[int(row[f"{which}_class"])]
            assert float(row[f"{which}_probability"]) == pytest.approx(
                expected, abs=1e-6
            )


class Loads(html.parser.HTMLParser):
    """Notes what a page would load or run."""

    def __init__(self):
        super().__init__()
        self.tags, self.targets = set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.targets += [value for name, value in attrs if name in ("src", "href")]


def test_a_page_runs_and_loads_nothing_and_shows_names_as_they_are(photos, report):
    code, _, err = report(*photos)
    assert code == 0, err
    with open("report/report.html", encoding="utf-8") as file:
        text = file.read()
    page = Loads()
    page.feed(text)
    assert not {"script", "link", "iframe", "object"} & page.tags
    assert page.targets
    assert all(target.startswith("data:image/png;base64,") for target in page.targets)
    assert "&lt;script&gt;alert(1)&lt;|script&gt;" in text
    assert "a&quot;b&amp;c" in text
    assert "$x$ ^_{" in text
    assert "prefers-color-scheme: dark" in text


@pytest.fixture
def earlier(written):
    """A folder of an earlier report, of which the content can be known again."""
    (written / "report").mkdir()
    (written / "report" / "report.json").write_text("earlier")
    return written / "report"


def test_an_earlier_report_is_replaced_whole(earlier, report):
    (earlier / "curves.png").write_text("of a run")
    code, out, err = report("repo/tiny/1")
    assert code == 0, err
    assert out.splitlines()[-1] == f"report: {os.path.join('report', 'report.html')}"
    assert json.loads((earlier / "report.json").read_text())["examples"] == 64
    assert (earlier / "errors.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(os.listdir(earlier)) == sorted(writing.FILES - {"curves.png"})


REFUSED = {
    "a run": ("run", {}, r"'run', which holds 'best.keras'"),
    "a folder with a report.html alone": (
        *("mine", {"report.html": "mine"}, r"'mine', which holds no report.json"),
    ),
    "a report with another file": (
        "mine",
        {"report.json": "{}", "notes.txt": "mine"},
        r"'mine', which holds 'notes.txt'",
    ),
    "the current folder": (".", None, "--report must be a new or an empty folder"),
    "a file": ("README.txt", None, "--report must be a folder. Received: 'README.txt'"),
    "a place in a file": ("README.txt/a", None, "'README.txt/a' cannot be written"),
}


@pytest.mark.parametrize(
    ("to", "files", "message"),
    [
        pytest.param(*case, marks=situation("reports", f"--report names {name}"))
        for name, case in REFUSED.items()
    ],
)
def test_a_folder_of_others_is_left_as_it_is(
    to, files, message, written, report, monkeypatch, outcome
):
    for name, text in (files or {}).items():
        (written / to).mkdir(exist_ok=True)
        (written / to / name).write_text(text)
    before = contents(written)
    place = "scalenet_training.evaluate.saved.Evaluator"
    monkeypatch.setattr(place, lambda *_, **__: pytest.fail("it was evaluated"))
    code, _, err = report("run", to=to)
    assert code == 2
    assert message in err
    assert contents(written) == before
    outcome("error, exit code 2, before anything is evaluated; the files are intact")


def test_the_current_folder_is_refused(written, report, monkeypatch):
    (written / "here").mkdir()
    monkeypatch.chdir(written / "here")
    code, _, err = report("../run", to=".")
    assert code == 2
    assert "--report must not be the current folder" in err


def contents(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


FULL = {
    "its tables": "scalenet_training.evaluate.report.writing._write_rows",
    "its figures": "matplotlib.figure.Figure.savefig",
    "all of it": "scalenet_tf.files.whole.os.fsync",
    "its place": "scalenet_tf.files.whole._exchanged",
}


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(
            place, marks=situation("reports", f"a full disk leaves no room for {what}")
        )
        for what, place in FULL.items()
    ],
)
def test_a_full_disk_is_an_error_and_leaves_the_earlier_report(
    place, earlier, report, monkeypatch, outcome
):
    before = contents(earlier.parent)
    monkeypatch.setattr(place, full)
    code, _, err = report("repo/tiny/tflite/1/tiny-float32.tflite")
    assert code == 1
    assert "error: cannot write to 'report': No space left on device" in err
    assert contents(earlier.parent) == before
    assert not [name for name in os.listdir() if name.startswith(".writing-")]
    outcome("error, exit code 1; an earlier report is intact")


def test_a_new_folder_of_which_nothing_could_be_written_is_not_there(
    written, report, monkeypatch
):
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    code, _, err = report("repo/tiny/1", to="new/inner/report")
    assert code == 1, err
    assert not (written / "new").exists()


def test_several_workers_are_refused(written, report, monkeypatch):
    from scalenet_training.devices import placement

    opened = placement.open_placement("none", 0, None)
    two = types.SimpleNamespace(**{**vars(opened), "workers": 2})
    monkeypatch.setattr(placement, "open_placement", lambda *_: two)
    code, _, err = report("run")
    assert code == 2
    assert "--report must be left out where several workers evaluate" in err
    assert not (written / "report").exists()


def test_without_errors_there_is_no_sheet_and_no_temperature(tmp_path):
    labels = np.arange(20) % 4
    collector = collected(labels, np.eye(4)[labels] * 5)
    writing.write_report(str(tmp_path / "report"), collector, result_of(collector))
    names = set(os.listdir(tmp_path / "report"))
    assert names == writing.FILES - {"errors.png", "curves.png"}
    told = json.loads((tmp_path / "report" / "report.json").read_text())
    assert told["calibration"]["temperature"] is None
    assert told["calibration"]["ece_at_temperature"] is None
    assert "top5_error" not in told  # of 4 classes, one of 5 is always right
    assert "every answer is right" in (tmp_path / "report/report.html").read_text()


def result_of(collector):
    found = collector.predictions
    loss = negative_log_likelihood(found.logits, found.labels)
    wrong = 1 - found.right.mean()
    return {"loss": loss, "top1_error": wrong, "top5_error": 0.0}


def test_the_collector_has_probabilities_in_order_and_the_worst_pictures():
    labels, logits = random_predictions(200)
    logits[11] = logits[5]  # as bad as an earlier one
    labels[11] = labels[5] = (logits[5].argmax() + 1) % 7
    images = np.random.default_rng(0).random((200, 2, 2, 3)).astype(np.float32)
    collector = collected(labels, logits, images, batch=9)
    found = collector.predictions
    expected = scipy.special.softmax(logits, axis=1)
    rows = np.arange(200)
    np.testing.assert_allclose(found.probability, expected.max(1), atol=1e-6)
    np.testing.assert_allclose(
        found.true_probability, expected[rows, labels], atol=1e-6
    )
    wrong = np.flatnonzero(expected.argmax(1) != labels)
    assert len(wrong) > MOST_ERRORS
    order = sorted(wrong, key=lambda n: (-found.probability[n], n))[:MOST_ERRORS]
    assert [error.number for error in collector.errors] == order
    for error in collector.errors:
        np.testing.assert_array_equal(error.image, images[error.number])
        assert error.image.base is None  # it does not keep its batch


def test_what_is_undefined_is_left_out_of_the_means():
    # Class 2 is never predicted, class 3 has no examples, class 4 neither.
    labels, predicted = np.array([0, 0, 1, 2]), np.array([0, 3, 1, 1])
    found = collected(labels, np.eye(5)[predicted]).predictions
    figures = class_figures(found)
    np.testing.assert_array_equal(figures.precision, [1, 0.5, np.nan, 0, np.nan])
    np.testing.assert_array_equal(figures.recall, [0.5, 1, 0, np.nan, np.nan])
    np.testing.assert_array_equal(figures.support, [2, 1, 1, 0, 0])
    assert macro_averages(found) == pytest.approx(
        {"precision": 0.5, "recall": 0.5, "f1": (2 / 3 + 2 / 3 + 0) / 3}
    )


def test_the_calibration_error_is_that_of_its_definition():
    labels, logits = random_predictions(500)
    probabilities = scipy.special.softmax(logits, axis=1)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    expected = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            expected += inside.mean() * gap
    assert expected > 0.01
    assert reliability(confidence, right).ece == pytest.approx(expected, abs=1e-12)


def test_the_borders_belong_to_the_lower_bins():
    found = reliability(np.array([0.2, 0.4, 0.5, 1.0]), np.array([1, 0, 1, 1]), bins=5)
    assert found.counts.tolist() == [1, 1, 1, 0, 1]
    assert found.accuracy.tolist() == [1, 0, 1, 0, 1]


@pytest.mark.parametrize("scale", [0.3, 1, 6])
def test_the_temperature_is_the_best_of_a_fine_grid(scale):
    labels, logits = random_predictions(400, seed=3)
    logits = scale * logits
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 6001))
    rows = np.arange(400)
    losses = [
        -scipy.special.log_softmax(logits / t, axis=1)[rows, labels].mean()
        for t in grid
    ]
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(grid[np.argmin(losses)], rel=1e-3)
    assert negative_log_likelihood(logits, labels, found) <= min(losses) + 1e-9
    # Logarithms of probabilities are logits, but for a shift of each row.
    shifted = scipy.special.log_softmax(logits, axis=1)
    assert fit_temperature(shifted, labels) == pytest.approx(found, rel=1e-3)
    expected = scipy.special.softmax(logits / found, axis=1).max(1)
    np.testing.assert_allclose(confidences(logits, found), expected)


def test_classes_that_are_confused_are_neighbours():
    groups = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])
    counts = 50 * np.eye(9, dtype=int)
    counts += np.where(groups[:, None] == groups, 9, 0)
    counts[0, 1] += 1  # a rare one
    for one in (counts, np.tril(counts), np.triu(counts)):  # also in one direction
        order = neighbouring(one)
        assert sorted(order) == list(range(9))
        assert np.count_nonzero(np.diff(groups[order])) == 2
    np.testing.assert_array_equal(neighbouring(7 * np.eye(20, dtype=int)), range(20))
    np.testing.assert_array_equal(neighbouring(np.array([[3, 1], [2, 0]])), [0, 1])


def test_the_most_frequent_confusions_come_first():
    counts = np.array([[9, 1, 0], [3, 0, 3], [0, 0, 0]])
    assert most_confused(counts, 20) == [(1, 0, 3, 0.5), (1, 2, 3, 0.5), (0, 1, 1, 0.1)]
    assert most_confused(counts, 1) == [(1, 0, 3, 0.5)]


def test_labels_that_are_contradicted_with_usual_confidence_are_suspects():
    labels, logits = random_predictions(300, classes=5)
    labels[7] = (logits[7].argmax() + 1) % 5
    logits[7, logits[7].argmax()] += 9
    found = collected(labels, logits).predictions
    probabilities = scipy.special.softmax(found.logits.astype(float), axis=1)
    own = [probabilities[labels == label, label].mean() for label in range(5)]
    expected = {}
    for number, row in enumerate(probabilities):
        likeliest = row.argmax()
        if likeliest != labels[number] and row[likeliest] >= own[likeliest]:
            expected[number] = row[likeliest] - row[labels[number]]
    listed = suspects.suspicious_labels(found)
    assert [one.number for one in listed] == sorted(
        expected, key=lambda n: -expected[n]
    )
    assert listed[0].number == 7
    assert listed[0].threshold == pytest.approx(own[logits[7].argmax()])


def test_equal_pictures_are_suspects():
    images = np.random.default_rng(0).random((9, 2, 2, 3)).astype(np.float32)
    images[4], images[8] = images[1], images[1]
    labels = np.array([0, 1, 0, 0, 1, 0, 0, 0, 0])
    found = collected(labels, np.eye(2)[labels], images, batch=3).predictions
    assert suspects.suspects(found) == [
        suspects.Suspect(4, "equal picture", equal_to=1),
        suspects.Suspect(8, "equal picture of another class", equal_to=1),
    ]


def patch_network():
    """Class 0 is red, class 1 is green, class 2 is neither: maps of 8x8 of 32x32."""
    inputs = keras.Input((32, 32, 3))
    colours = keras.layers.Conv2D(2, 4, 4, activation="relu")
    pooled = keras.layers.GlobalAveragePooling2D(name="avg_pool")(colours(inputs))
    dense = keras.layers.Dense(3, name="logits")
    model = keras.Model(inputs, keras.layers.Softmax()(dense(pooled)))
    kernel = np.zeros((4, 4, 3, 2))
    kernel[:, :, 0, 0] = kernel[:, :, 1, 1] = 1
    colours.set_weights([kernel, np.zeros(2)])
    dense.set_weights([np.array([[1, 0, -1], [0, 1, -1]]), np.zeros(3)])
    return model


def test_the_evidence_is_where_the_patch_is():
    image = np.zeros((32, 32, 3), np.float32)
    image[4:8, 8:12, 0] = 1  # red
    image[20:24, 16:20, 1] = 1  # green
    images = np.repeat(image[None], 11, axis=0)
    classes = np.array([0, 1, 2] + 8 * [1])
    found = grad_cam(patch_network(), images, classes)
    assert found.shape == (11, 32, 32)
    for maps, (top, left) in ((found[:1], (4, 8)), (found[[1, 10]], (20, 16))):
        for evidence in maps:
            place = np.unravel_index(evidence.argmax(), evidence.shape)
            assert top <= place[0] < top + 4
            assert left <= place[1] < left + 4
            assert evidence.max() > 0.7
            far = np.ones((32, 32), bool)
            far[top - 4 : top + 8, left - 4 : left + 8] = False
            assert not evidence[far].any()
    assert not found[2].any()  # nothing speaks for it


@pytest.mark.parametrize("trainable", [True, False])
def test_the_evidence_of_a_network_is_its_map_weighted_by_the_dense_layer(trainable):
    model = scalenet_tf.ScaleNet(TINY_CIFAR, classes=5)
    model.trainable = trainable
    images = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)
    classes = np.array([4, 0, 2])
    last = keras.Model(model.inputs, model.get_layer("avg_pool").input)
    features = last([images], training=False).numpy()
    kernel = model.get_layer("logits").kernel.numpy()[:, classes]
    expected = np.maximum(np.einsum("nhwc,cn->nhw", features, kernel), 0)
    expected /= expected.max(axis=(1, 2), keepdims=True)
    resized = keras.ops.image.resize(expected[..., None], (32, 32))[..., 0]
    np.testing.assert_allclose(grad_cam(model, images, classes), resized, atol=1e-5)
