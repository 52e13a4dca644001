"""Images that are easily got wrong give the same probabilities wherever they go."""

import io
import json
import subprocess
import sys

import image_samples as samples
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps
from scalenet_training.data.batches import evaluation_batches
from scalenet_training.data.sources import open_source
from scalenet_training.data.transform import Transform
from scalenet_training.predict.config import PredictConfig
from scalenet_training.predict.predictors import open_predictor
from served import running
from test_export import NAMES, TRANSFORM

from scalenet_tf import export
from scalenet_tf.serving import Client

SIZE = (60, 44)
GREY_16 = samples.pixels(44, 60, dtype=np.uint16)


def turned_jpeg():
    tag = Image.Exif()
    tag[0x112] = 6
    return samples.saved(samples.photo(size=SIZE), "JPEG", exif=tag)


FILES = {
    "turned.jpg": turned_jpeg(),
    "palette.bmp": samples.saved(samples.photo(size=SIZE).quantize(100), "BMP"),
    "sixteen.png": samples.saved(Image.fromarray(GREY_16), "PNG"),
}
IMAGES = list(FILES.values())


@pytest.fixture(scope="module")
def expected(exports):
    """Probabilities of what Pillow shows."""

    def viewed(data):
        with Image.open(io.BytesIO(data)) as image:
            if image.mode.startswith("I;16"):
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))

    images = tf.stack([TRANSFORM(viewed(data)) for data in IMAGES])
    probabilities = exports.model.predict(images, verbose=0)
    assert np.abs(np.diff(probabilities, axis=0)).max() > 0.01  # they differ by image
    return probabilities


@pytest.fixture(scope="module")
def run_folder(exports, tmp_path_factory):
    """The folder of a run with the network that was exported."""
    return exports.save_run(tmp_path_factory.mktemp("same") / "run")


def evaluated(model, folder):
    """Probabilities by the batches that training and evaluate.py evaluate on."""
    for index, (name, data) in enumerate(FILES.items()):
        place = folder / f"class{index}"
        place.mkdir(parents=True)
        (place / name).write_bytes(data)
    split = open_source(str(folder), None, False).open_split("all")
    transform = Transform(TRANSFORM, classes=len(FILES))
    batches = evaluation_batches(split, transform, 3)(tf.distribute.InputContext())
    ((images, labels, _),) = batches
    return model.predict(images, verbose=0)[np.argsort(labels)]


def by_class(predictions):
    """Probabilities in the order of the classes, of predictions of all of them."""
    rows = np.zeros((len(predictions), len(NAMES)))
    for row, prediction in zip(rows, predictions, strict=True):
        row[list(prediction.classes)] = prediction.probabilities
    return rows


def predicted(model):
    """Probabilities by what predict.py opens for a model."""
    with open_predictor(PredictConfig(images=(), model=str(model))) as predictor:
        return by_class(predictor.predict(IMAGES, len(NAMES)))


def served(url):
    with Client(url, signature="serving_bytes") as client:
        return client.predict(IMAGES)


def test_evaluation_prediction_and_server_see_what_pillow_shows(
    expected, exports, run_folder, server, tmp_path
):
    probabilities = evaluated(exports.model, tmp_path / "images")
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(predicted(run_folder), expected, atol=1e-5)
    order = np.argsort(-expected, 1)
    likeliest = np.take_along_axis(expected, order[:, :5], 1)
    for prediction, classes, values in zip(
        served(server.url("tiny/versions/1")), order, likeliest, strict=True
    ):
        assert list(prediction.classes) == classes[:5].tolist()
        np.testing.assert_allclose(prediction.probabilities, values, atol=1e-5)


PLAIN_TENSORFLOW = """
import json, pathlib, sys
import tensorflow as tf

folder, *files = sys.argv[1:]
images = [pathlib.Path(file).read_bytes() for file in files]
run = tf.saved_model.load(folder).signatures["serving_bytes"]
rows = run(image_bytes=tf.constant(images))["probabilities"].numpy()
assert not [name for name in sys.modules if name.startswith("scalenet")]
print(json.dumps(rows.tolist()))
"""


@pytest.mark.processes
def test_every_runtime_sees_what_pillow_shows(
    expected, exports, repository, run_folder, tmp_path
):
    paths = [tmp_path / name for name in FILES]
    for path, data in zip(paths, IMAGES, strict=True):
        path.write_bytes(data)
    folder = exports.repository / "tiny" / "1"
    tflite = tmp_path / "a.tflite"
    export.convert_tflite(exports.model, tflite, TRANSFORM, NAMES)
    output = subprocess.run(
        [sys.executable, "-c", PLAIN_TENSORFLOW, folder, *paths],
        cwd="/",
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = {
        "evaluation": evaluated(exports.model, tmp_path / "images"),
        "Keras run": predicted(run_folder),
        "SavedModel": predicted(folder),
        "TensorFlow alone": json.loads(output.splitlines()[-1]),
        "LiteRT": predicted(tflite),
    }
    for name, probabilities in found.items():
        np.testing.assert_allclose(probabilities, expected, atol=1e-5, err_msg=name)
    for protocol in ("rest", "grpc"):
        with running(protocol, repository) as server:
            predictions = served(server.url("tiny/versions/1"))
        for row, prediction in zip(expected, predictions, strict=True):
            np.testing.assert_allclose(
                prediction.probabilities, row[list(prediction.classes)], atol=1e-5
            )
