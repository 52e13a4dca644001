"""Weights that come with the package: their files, and what takes their names."""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image
from processes import ROOT
from scalenet_training.cli.app import main
from scalenet_training.errors import UsageError
from scalenet_training.evaluate.config import EvaluateConfig
from scalenet_training.evaluate.saved import evaluate_saved
from scalenet_training.recipes.presets import PRESETS
from scalenet_training.shipping.config import ShipConfig
from scalenet_training.shipping.shipping import ship
from scalenet_training.train.loop import train_and_evaluate

import scalenet_tf
from scalenet_tf.shipped import weights as shipped

pytestmark = pytest.mark.runs

NAMES = ["cifar10:ResNetCifar38", "cifar10:ScaleNetCifar38"]
CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"


def record_of(name):
    folder = pathlib.Path(scalenet_tf.describe_weights(name).path).parent
    return json.loads((folder / "config.json").read_text())


def test_names_and_what_is_known_of_them():
    assert scalenet_tf.list_weights() == NAMES
    assert scalenet_tf.list_weights("*scalenet*") == NAMES[1:]
    for name in NAMES:
        weights = scalenet_tf.describe_weights(name.upper())
        assert weights.name == name
        assert (weights.data, weights.network) == tuple(name.split(":"))
        assert weights.class_names == tuple(CLASSES.split())
        assert weights.normalization == "cifar10"
        assert weights.evaluation["dataset"] == weights.data
        assert weights.evaluation["split"] == "test"
        assert weights.evaluation["examples"] == 10_000
        assert os.path.getsize(weights.path) < 3e6
    with pytest.raises(ValueError, match=r"one of cifar10:ResNet.*Received: 'cifar'"):
        scalenet_tf.describe_weights("cifar")


def test_records_are_of_the_networks_and_differ_in_them_alone():
    settings = []
    for name in NAMES:
        record, network = record_of(name), name.partition(":")[2]
        assert record["architecture"]["name"] == network
        assert record["config"].pop("model") == network
        settings.append(record["config"])
    assert settings[0] == settings[1]
    assert settings[0]["train_split"] == "train"


def test_what_else_is_in_the_folder_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "_ROOT", str(tmp_path))
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "cifar10" / "Unfinished").mkdir(parents=True)
    (tmp_path / "cifar10" / ".writing-x").mkdir()
    assert scalenet_tf.list_weights() == []
    monkeypatch.setattr(shipped, "_ROOT", str(tmp_path / "none"))
    assert scalenet_tf.list_weights() == []
    with pytest.raises(ValueError, match=r"`weights` must be None or the path"):
        scalenet_tf.ScaleNetCifar38(weights="cifar10")


@pytest.mark.parametrize("name", NAMES)
def test_networks_take_them_by_the_name_of_the_data(name, here):
    weights = scalenet_tf.describe_weights(name)
    saved = scalenet_tf.load_model(weights.path)
    os.mkdir(here / "cifar10")  # a folder of data, which many have
    model = scalenet_tf.create_model(weights.network, weights="CIFAR10")
    assert model.output_shape == (None, 10)
    for ours, theirs in zip(model.weights, saved.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}
    body = scalenet_tf.create_model(
        weights.network, weights=name, include_top=False, pooling="avg"
    )
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    top = keras.Model(model.inputs, model.get_layer("logits").input)
    np.testing.assert_allclose(
        body.predict(images, verbose=0),
        top.predict(images, verbose=0),
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        ("ScaleNet50", {"weights": "cifar10"}, r"weights='cifar10' for ScaleNet50\."),
        ("ScaleNetCifar38", {"weights": "cifar100"}, r"package: cifar10:R.*'cifar100'"),
        ("ScaleNetCifar38", {"weights": NAMES[0]}, r"must be those of ScaleNetCifar38"),
        (
            "ScaleNetCifar38",
            {"weights": "cifar10", "classes": 100},
            r"`classes` must be .*: 10 classes\. Received: classes=100",
        ),
        (
            "ScaleNetCifar38",
            {"weights": "cifar10", "input_shape": (32, 32, 1)},
            r"must have 3 channels",
        ),
    ],
)
def test_weights_of_something_else_are_refused(network, options, message):
    with pytest.raises(ValueError, match=message):
        scalenet_tf.create_model(network, **options)


def test_an_architecture_of_the_same_name_is_another_network():
    published = scalenet_tf.get_architecture("ScaleNetCifar38")
    other = dataclasses.replace(published, scales=(1, 2, 8))
    with pytest.raises(ValueError, match=r"'cifar10' for a network of your own"):
        scalenet_tf.ScaleNet(other, weights="cifar10")
    with pytest.raises(ValueError, match=r"must be those of a network of your own\. "):
        scalenet_tf.ScaleNet(other, weights=NAMES[1])


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    shutil.copytree(shipped._ROOT, tmp_path / "weights")
    monkeypatch.setattr(shipped, "_ROOT", str(tmp_path / "weights"))
    folder = tmp_path / "weights" / "cifar10" / "ScaleNetCifar38"
    content = bytearray((folder / "last.keras").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "last.keras").write_bytes(content)
    with pytest.raises(ValueError, match=r"'cifar10:ScaleNetCifar38' are damaged: the"):
        scalenet_tf.ScaleNetCifar38(weights="cifar10")
    (folder / "last.keras").unlink()
    with pytest.raises(ValueError, match=r"'cifar10:ScaleNetCifar38' cannot be read"):
        scalenet_tf.ScaleNetCifar38(weights="cifar10")
    (folder / "config.json").write_text("{")
    with pytest.raises(
        ValueError, match=r"'cifar10:ScaleNetCifar38' in .* are damaged"
    ):
        scalenet_tf.describe_weights(NAMES[1])


# Wrong among the first 500 test images.
WRONG = {NAMES[0]: 53, NAMES[1]: 49}


@pytest.mark.parametrize("name", NAMES)
def test_errors_on_500_images(name, data_dir):
    """Rounding may decide about one image whose classes are equally likely."""
    settings = EvaluateConfig(
        name, data_dir=f"{data_dir}/tfds", eval_split="test[:500]"
    )
    result = evaluate_saved(settings)
    assert result["examples"] == 500
    assert round(500 * result["top1_error"]) == pytest.approx(WRONG[name], abs=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_errors_are_those_that_are_told(name, data_dir):
    result = evaluate_saved(EvaluateConfig(name, data_dir=f"{data_dir}/tfds"))
    told = scalenet_tf.describe_weights(name).evaluation
    assert result["examples"] == told["examples"] == 10_000
    for error in ("top1_error", "top5_error"):
        assert round(10_000 * result[error]) == pytest.approx(
            10_000 * told[error], abs=1.01
        )
    assert result["loss"] == pytest.approx(told["loss"], rel=1e-4)


def test_the_pages_have_the_errors_of_the_evaluations():
    rows, said = [], []
    for name in NAMES:
        weights = scalenet_tf.describe_weights(name)
        errors = [100 * weights.evaluation[f"top{k}_error"] for k in (1, 5)]
        size = os.path.getsize(weights.path) / 1e6
        rows.append(
            f"| `{name}` | {errors[0]:.2f} % | {errors[1]:.2f} % | {size:.1f} MB |"
        )
        said.append(f"{errors[0]:.2f} %")
    page = pathlib.Path(ROOT, "docs", "weights.md").read_text()
    assert re.findall(r"^\| `cifar10:.*$", page, re.M) == rows
    readme = pathlib.Path(ROOT, "README.md").read_text()
    (sentence,) = re.findall(r"weights for two networks.*?\. ", readme, re.S)
    assert re.findall(r"[\d.]+ %", sentence) == said[::-1]


def test_commands_take_their_names(run_verb, here, photographs):
    name = NAMES[1]
    code, output, _ = run_verb(
        "predict", f"{photographs} --model {name.lower()} --json"
    )
    assert code == 0
    answers = json.loads(output)
    assert {a["true_name"] for a in answers} == {"ship", "truck"}
    assert {a["predictions"][0]["name"] for a in answers} <= set(CLASSES.split())
    code, output, _ = run_verb(
        "export", f"{name} --name cifar10 --format tflite --images {photographs}"
    )
    assert code == 0
    card = json.loads(
        (here / "savedmodels/cifar10/tflite/1/model_card.json").read_text()
    )
    assert card["verification"]["error"] <= card["verification"]["bound"]
    assert card["training"]["saved"] == "last"
    told = scalenet_tf.describe_weights(name).evaluation
    assert card["training"]["metrics"]["val_top1_error"] == told["top1_error"]
    code, _, error = run_verb("evaluate", "cifar10:ScaleNetCifar83")
    assert code == 2
    assert "Did you mean cifar10:ScaleNetCifar38" in error


def test_a_folder_of_the_name_of_the_data_is_not_taken_for_them(run_verb, here):
    for name in "abcdefghij":
        os.makedirs(here / "cifar10" / name)
        keras.utils.save_img(here / "cifar10" / name / "0.png", np.zeros((8, 8, 3)))
    code, _, error = run_verb("evaluate", f"{NAMES[1]} --eval-split all")
    assert code == 2
    assert "must have the classes of the run, such as 'airplane'" in error
    assert "'cifar10' with 'a' in its place" in error


def test_they_are_published_with_the_errors_of_their_file(
    run_verb, here, photographs, tmp_path, monkeypatch
):
    shutil.copytree(shipped._ROOT, tmp_path / "weights")
    monkeypatch.setattr(shipped, "_ROOT", str(tmp_path / "weights"))
    name = NAMES[1]
    weights = scalenet_tf.describe_weights(name)
    path = pathlib.Path(weights.path).parent / "evaluation.json"
    content = json.loads(path.read_text())
    content["evaluation"]["top1_error"] = 0.4321
    path.write_text(json.dumps(content))
    code, _, _ = run_verb(
        "publish", f"{name} public --formats tflite --images {photographs}"
    )
    assert code == 0
    public = here / "public"
    keras_file = pathlib.Path(weights.path).read_bytes()
    assert (public / "last.keras").read_bytes() == keras_file
    card = (public / "README.md").read_text()
    assert "| top-1 error | 43.21% |" in card
    assert "after epoch\n30, the last one:" in card
    assert "chosen by these examples" not in card
    assert 'name: "cifar10-ScaleNetCifar38"' in card
    (model_card,) = public.glob("tflite/**/model_card.json")
    metrics = json.loads(model_card.read_text())["training"]["metrics"]
    assert metrics["val_top1_error"] == 0.4321


# Without this package; mean and deviation are those of the notebook.
STRANGER = """
import io, json, sys
import numpy as np
import PIL.Image
import tensorflow_datasets as tfds
from ai_edge_litert.interpreter import Interpreter
import tensorflow as tf

cells = json.load(open("usage.ipynb"))["cells"]
(line,) = (l for c in cells for l in c["source"] if l.startswith("MEAN, DEVIATION"))
exec(line)
# As Pillow decodes them; the decoding of TensorFlow Datasets gives other pixels.
examples = tfds.load(
    "cifar10",
    split="test[:1000]",
    data_dir=sys.argv[1],
    decoders={"image": tfds.decode.SkipDecoding()},
)
files, labels = zip(*((e["image"], e["label"]) for e in examples.as_numpy_iterator()))
images = [PIL.Image.open(io.BytesIO(file)).convert("RGB") for file in files]
x = (np.float32([np.asarray(image) for image in images]) / 255 - MEAN) / DEVIATION
server = tf.saved_model.load("savedmodel").signatures["serving_default"]
(name,) = server.structured_input_signature[1]
answers = server(**{name: tf.constant(x)})["probabilities"].numpy()
runner = Interpreter("tflite/cifar10-ScaleNetCifar38-float32.tflite")
runner = runner.get_signature_runner()
phone = [runner(images=image[None])["probabilities"][0] for image in x]
wrong = [np.mean(np.argmax(a, axis=1) != labels) for a in (answers, np.stack(phone))]
assert "scalenet_tf" not in sys.modules
print(json.dumps(wrong))
"""


@pytest.mark.slow
@pytest.mark.processes
def test_a_publication_serves_those_without_this_package(run_verb, here, data_dir):
    name, folder = NAMES[1], f"{data_dir}/tfds"
    code, _, _ = run_verb("publish", f"{name} public --data-dir {folder}")
    assert code == 0
    settings = EvaluateConfig(name, data_dir=folder, eval_split="test[:1000]")
    expected = evaluate_saved(settings)["top1_error"]
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, folder],
        cwd=here / "public",
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    wrong = json.loads(done.stdout.splitlines()[-1])
    assert wrong == pytest.approx([expected] * 2, abs=1.5e-3)


def test_training_starts_from_them(run_verb, here, photographs):
    code, output, _ = run_verb(
        "train",
        f"--dataset {photographs} --weights {NAMES[1]} --max-steps 1 --workdir run",
    )
    assert code == 0
    assert "new classifier for 2 classes" in output
    settings = json.loads((here / "run" / "config.json").read_text())["config"]
    assert settings["model"] == "ScaleNetCifar38"
    assert settings["normalization"] == "cifar10"
    assert settings["preset"] == "finetune"


def test_a_network_learns_from_them(run_verb, here, data_dir):
    code, _, _ = run_verb(
        "train",
        f"--preset cifar10 --data-dir {data_dir}/tfds --teacher {NAMES[1]} "
        "--model ResNetCifar38 --max-steps 1 --train-split 'train[:128]' "
        "--eval-split 'test[:10]' --workdir run",
    )
    assert code == 0
    record = json.loads((here / "run" / "config.json").read_text())
    assert record["teacher"] == scalenet_tf.describe_weights(NAMES[1]).sha256
    assert record["config"]["teacher"] == NAMES[1]


@pytest.fixture
def photographs(tmp_path):
    """Drawn pictures of two classes, 32 pixels wide."""
    generator = np.random.default_rng(0)
    for name in ("ship", "truck"):
        folder = tmp_path / "drawn" / name
        folder.mkdir(parents=True)
        for number in range(12):
            pixels = generator.integers(0, 256, (4, 4, 3)).repeat(8, 0).repeat(8, 1)
            keras.utils.save_img(folder / f"{number}.png", pixels, scale=False)
    return tmp_path / "drawn"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one epoch that computed in bfloat16."""
    folder = tmp_path_factory.mktemp("shipped")
    config = dataclasses.replace(
        PRESETS["digits"].config,
        train_split="train[:128]",
        eval_split="validation[:50]",
        epochs=1,
        mixed_precision="bfloat16",
        recipe=str(folder / "recipe.toml"),
    )
    return folder / "run", train_and_evaluate(config, str(folder / "run"))


def test_a_run_becomes_weights_of_the_package(run, tmp_path):
    run, result = run
    (tmp_path / "weights").mkdir()
    config = ShipConfig(str(run), to=str(tmp_path / "weights"))
    folder = pathlib.Path(ship(config))
    assert folder == tmp_path / "weights" / "digits" / "ScaleNetCifar38"
    saved = scalenet_tf.load_model(folder / "last.keras")
    trained = scalenet_tf.load_model(run / "last.keras")
    for ours, theirs in zip(saved.weights, trained.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert "bfloat16" in {layer.compute_dtype for layer in trained.layers}
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}
    assert str(run.parent) not in (folder / "config.json").read_text()
    told = json.loads((folder / "evaluation.json").read_text())
    digest = hashlib.sha256((folder / "last.keras").read_bytes()).hexdigest()
    assert told["sha256"] == digest
    again = evaluate_saved(EvaluateConfig(str(folder / "last.keras")))
    names = ("top1_error", "top5_error", "loss", "examples")
    assert {name: told["evaluation"][name] for name in names} == {
        name: pytest.approx(again[name], rel=1e-6) for name in names
    }
    assert told["evaluation"]["loss"] == pytest.approx(result["val_loss"], rel=0.05)
    assert (folder / "metrics.csv").read_bytes() == (run / "metrics.csv").read_bytes()
    ship(config)  # replaces them
    assert len(list(folder.iterdir())) == 4


def test_the_command_is_for_those_who_release(
    run, tmp_path, run_verb, monkeypatch, capsys
):
    (tmp_path / "weights").mkdir()
    code, output, _ = run_verb("ship", f"{run[0]} --to {tmp_path}/weights")
    assert code == 0
    folder = tmp_path / "weights" / "digits" / "ScaleNetCifar38"
    assert output.splitlines()[0] == f"weights: {folder}"
    assert (folder / "evaluation.json").is_file()
    code, _, error = run_verb("ship", "nowhere")
    assert (code, error.split(".")[0]) == (2, "error: RUN must be the folder of a run")
    monkeypatch.setattr(sys, "argv", ["scalenet", "--help"])
    main()
    listed = capsys.readouterr().out
    assert "publish" in listed
    assert "ship " not in listed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 2}, r"must have ended, after 2 epochs\. Received: .*, 1 epochs\."),
        ({"dataset": "/data/photos"}, r"on files\. Received: '/data/photos'"),
        ({"dataset": "photos"}, r"on files\. Received: 'photos'"),
        ({"dataset": "digits:1.0"}, r"by its name alone\. Received: 'digits:1\.0'"),
        ({}, r"of a network in `list_models`\. Received: 'Mine'"),
    ],
)
def test_other_runs_are_refused(run, tmp_path, change, message):
    copy = tmp_path / "run"
    shutil.copytree(run[0], copy)
    record = json.loads((copy / "config.json").read_text())
    record["config"].update(change)
    if "photos" in change.get("dataset", ""):
        record["data"]["kind"] = "folder"
    if not change:
        record["architecture"]["name"] = "Mine"
    (copy / "config.json").write_text(json.dumps(record))
    (tmp_path / "weights").mkdir()
    with pytest.raises(UsageError, match=message):
        ship(ShipConfig(str(copy), to=str(tmp_path / "weights")))
    assert not list((tmp_path / "weights").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["none", "float16", "int8"])
def test_mediapipe_says_what_predict_says(quantization, run_verb, data_dir, tmp_path):
    """A file for phones that takes pixels, on 16 photographs of the network's size.

    MediaPipe cannot normalise by channel, as this network's floats are.
    """
    mediapipe = pytest.importorskip("mediapipe", reason="needs mediapipe")
    from mediapipe.tasks.python import BaseOptions, vision

    folder = pathlib.Path(data_dir, "imagenet-sample")
    pictures = [tmp_path / "small" / f"{number:02}.png" for number in range(16)]
    pictures[0].parent.mkdir()
    photographs = sorted(folder.glob("*/*.jpg"))[::60]
    for picture, photograph in zip(pictures, photographs, strict=False):
        with Image.open(photograph) as image:
            image.convert("RGB").resize((32, 32)).save(picture)
    options = (
        f"--format tflite --quantization {quantization} --data-dir {data_dir}/tfds"
    )
    options += " --input-type uint8"
    place = f"--to {tmp_path} --name network"
    code, _, err = run_verb("export", f"cifar10:ScaleNetCifar38 {options} {place}")
    assert code == 0, err
    (network,) = tmp_path.rglob("*.tflite")
    command = f"{pictures[0].parent} --model {network} --top-k 10 --json"
    code, output, err = run_verb("predict", command)
    assert code == 0, err
    answers = {row["file"]: row["predictions"] for row in json.loads(output)}
    options = vision.ImageClassifierOptions(BaseOptions(model_asset_path=str(network)))
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for picture in pictures:
            given = mediapipe.Image.create_from_file(str(picture))
            probabilities, _ = classifier.classify(given).classifications
            found = {one.category_name: one.score for one in probabilities.categories}
            expected = {
                one["name"]: one["probability"] for one in answers[str(picture)]
            }
            assert max(found, key=found.get) == max(expected, key=expected.get)
            assert found == pytest.approx(expected, abs=1e-3)
