"""A run becomes a folder that others can use."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from conftest import TINY_CIFAR
from records import record, row
from scalenet_training.recipes.presets import PRESETS
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.train.loop import train_and_evaluate

pytestmark = pytest.mark.runs

pytest.importorskip("ai_edge_litert", reason="needs the extra `export`")

DIGITS = PRESETS["digits"].config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny network after an epoch on digits."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "tiny.json").write_text(json.dumps(TINY_CIFAR.to_record()))
    config = dataclasses.replace(
        DIGITS,
        model=str(folder / "tiny.json"),
        train_split="train[:128]",
        eval_split="validation[:50]",
        epochs=1,
    )
    train_and_evaluate(config, str(folder / "digits run"))
    return folder / "digits run"


@pytest.fixture(scope="module")
def published(run):
    """The folder, of both default formats, with a licence."""
    from scalenet_training.publish.config import PublishConfig
    from scalenet_training.publish.publishing import publish

    (run.parent / "licence").write_text("Do as you like.\n")
    config = PublishConfig(
        run=str(run),
        folder=str(run.parent / "public"),
        license="apache-2.0",
        license_file=str(run.parent / "licence"),
    )
    paths = publish(config)
    assert all(os.path.isfile(path) for path in paths)
    return run.parent / "public"


def test_the_folder_has_all_files_and_their_sums(run, published):
    assert {path.name for path in published.iterdir()} == {
        *("README.md", "LICENSE", "SHA256SUMS", "best.keras", "labels.txt"),
        *("savedmodel", "tflite", "usage.ipynb"),
    }
    subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"],
        cwd=published,
        check=True,
    )
    lines = (published / "SHA256SUMS").read_text().splitlines()
    files = {
        path.relative_to(published).as_posix()
        for path in published.rglob("*")
        if path.is_file()
    }
    assert {line.partition("  ")[2] for line in lines} == files - {"SHA256SUMS"}
    assert (published / "best.keras").read_bytes() == (run / "best.keras").read_bytes()
    assert (published / "labels.txt").read_text().split() == list("0123456789")
    assert (published / "LICENSE").read_text() == "Do as you like.\n"
    assert not list(run.parent.glob(".writing*"))


def test_the_card_has_what_was_measured(run, published):
    text = (published / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    card = yaml.safe_load(head)
    assert card["library_name"] == "keras"
    assert card["pipeline_tag"] == "image-classification"
    assert card["license"] == "apache-2.0"
    assert card["datasets"] == ["digits"]
    (model,) = card["model-index"]
    assert model["name"] == "digits-run"
    (result,) = model["results"]
    assert result["dataset"] == {
        "name": "digits",
        "type": "digits",
        "split": "validation[:50]",
    }
    best = RunFolder(run).best_row()
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert values == {
        "accuracy": 1 - best["val_top1_error"],
        "top1_error": best["val_top1_error"],
        "top5_error": best["val_top5_error"],
        "loss": best["val_loss"],
    }
    assert f"| top-1 error | {best['val_top1_error']:.2%} |" in body
    assert "95 % interval" in body
    assert "top-1 agreement 100.0%, 16 images" in body
    assert "$" not in body
    for path in re.findall(r"`([\w./-]+\.\w+)`", body):
        assert (published / path).exists(), path


def notebook_script(folder):
    """The code of a notebook, in the order of its cells."""
    content = json.loads((folder / "usage.ipynb").read_text())
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    cells = content["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    return "\n".join(sources)


def test_the_notebook_is_of_the_files_that_there_are(published):
    script = notebook_script(published)
    compile(script, "usage.ipynb", "exec")
    assert "onnx" not in script
    assert 'IMAGE = FOLDER / "example.png"' in script
    assert script.count("import scalenet_tf") == 1
    before = script.partition("import scalenet_tf")[0]
    assert "scalenet" not in before
    for path in re.findall(r'FOLDER / "(tflite/[^"]+|savedmodel)"', script):
        assert (published / path).exists(), path


@pytest.mark.slow
@pytest.mark.processes
def test_the_cells_of_the_notebook_run_and_agree(run):
    from scalenet_training.publish.config import PublishConfig
    from scalenet_training.publish.publishing import publish

    formats = ["savedmodel", "tflite"]
    for module, name in (("onnxruntime", "onnx"), ("openvino", "openvino")):
        try:
            __import__(module)
        except ImportError:
            continue
        formats.append(name)
    folder = run.parent / "all formats"
    config = PublishConfig(run=str(run), folder=str(folder), formats=tuple(formats))
    publish(config)
    script = notebook_script(folder)
    script += (
        "\nimport json; print(json.dumps({n: r.tolist() for n, r in results.items()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(done.stdout.splitlines()[-1])
    assert results.keys() == {*formats, "keras"}
    for name, result in results.items():
        np.testing.assert_allclose(result, results["keras"], atol=1e-4, err_msg=name)


@pytest.mark.parametrize("patience", [0, 3])
def test_the_last_network_is_published_with_its_own_row(
    run, tmp_path, run_verb, patience
):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    rows = (copy / "metrics.csv").read_text().splitlines()
    first = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
    last = {**first, "epoch": "1", "val_top1_error": "0.98"}
    with open(copy / "metrics.csv", "a") as file:
        file.write(",".join(last.values()) + "\n")
    record = json.loads((copy / "config.json").read_text())
    record["config"]["early_stopping"] = patience
    (copy / "config.json").write_text(json.dumps(record))
    code, _, error = run_verb(
        "publish", f"{copy} {tmp_path}/public --formats tflite --saved last"
    )
    assert code == 0, error
    public = tmp_path / "public"
    content = (copy / "last.keras").read_bytes()
    assert (public / "last.keras").read_bytes() == content
    card = (public / "README.md").read_text()
    assert "after epoch\n2, the last one:" in card
    assert "| top-1 error | 98.00% |" in card
    assert ("chosen by these examples" in card) == (patience > 0)
    (model_card,) = public.glob("tflite/**/model_card.json")
    training = json.loads(model_card.read_text())["training"]
    assert training["saved"] == "last"
    assert training["metrics"]["val_top1_error"] == 0.98


def test_an_earlier_publication_is_replaced_and_nothing_else(
    run, published, tmp_path, run_verb
):
    public = tmp_path / "public"
    shutil.copytree(published, public)
    (public / "example.png").write_bytes(b"a picture")
    words = f"'{run}' '{public}' --formats tflite --name other"
    code, out, err = run_verb("publish", words)
    assert (code, "error" in err) == (0, False)
    assert f"{public}/tflite/other-float32.tflite" in out
    assert not (public / "savedmodel").exists()
    assert not (public / "LICENSE").exists()
    assert "not stated" in (public / "README.md").read_text()
    assert (public / "example.png").read_bytes() == b"a picture"
    assert "example.png" not in (public / "SHA256SUMS").read_text()
    (public / "mine.txt").write_text("keep")
    before = sorted(public.rglob("*"))
    code, _, err = run_verb("publish", words)
    assert code == 2
    assert err == (
        "error: FOLDER must be a new or an empty folder, or an earlier publication, "
        f"which is replaced. Received: '{public}', which holds 'mine.txt'.\n"
    )
    assert sorted(public.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--formats tflite tflite",
            "--formats must be one or more, none of them twice",
        ),
        ("--license 'My own'", "--license must be an identifier of small letters"),
        ("--license-file nowhere", "--license-file must be a file that exists"),
        ("--name ../a", "--name must be a plain folder name"),
    ],
)
def test_what_does_not_fit_leaves_nothing(run, here, run_verb, words, message):
    code, _, err = run_verb("publish", f"'{run}' public {words}")
    assert code == 2
    assert message in err
    assert os.listdir(here) == []


def test_an_export_that_fails_leaves_nothing(run, here, run_verb, monkeypatch):
    from scalenet_training.errors import RunError
    from scalenet_training.publish import publishing

    export_model = publishing.export_model

    def second_fails(config):
        if config.format == "tflite":
            raise RunError("the exported model differs")
        return export_model(config)

    monkeypatch.setattr(publishing, "export_model", second_fails)
    code, _, err = run_verb("publish", f"'{run}' new/public")
    assert code == 1
    assert err.endswith("error: the exported model differs\n")
    assert os.listdir(here) == []


@pytest.mark.parametrize("file", ["best.keras", "metrics.csv"])
def test_a_run_that_trains_on_meanwhile_leaves_nothing(
    run, here, run_verb, monkeypatch, file
):
    from scalenet_training.publish import publishing

    shutil.copytree(run, "training")
    better = row(1, 0.0)

    def trains_meanwhile(config, export_model=publishing.export_model):
        done = export_model(config)
        if file == "best.keras":
            with open("training/best.keras", "ab") as network:
                network.write(b"\0")
        else:
            RunFolder("training").write_row(better)
        return done

    monkeypatch.setattr(publishing, "export_model", trains_meanwhile)
    code, _, err = run_verb("publish", "training new/public --formats tflite")
    assert code == 1
    assert "error: 'training/best.keras' was replaced while it was read" in err
    assert "the run is still training, and its best network changed meanwhile" in err
    assert os.listdir(here) == ["training"]


def test_a_run_without_an_epoch_is_refused(run, here, run_verb):
    os.mkdir("begun")
    shutil.copy(run / "config.json", "begun")
    code, _, err = run_verb("publish", "begun public")
    assert code == 2
    assert err == (
        "error: 'begun' is not the folder of a run that has finished an epoch: it has "
        "no best.keras.\n"
    )
    assert os.listdir(here) == ["begun"]


@pytest.mark.parametrize(
    ("dataset", "data", "expected"),
    [
        ("photos", {"kind": "folder"}, True),  # without ./, as a dataset may be called
        ("list.csv", {"kind": "manifest"}, True),
        ("digits", {"kind": "digits"}, False),
        ("./photos", None, True),  # of version 0.1.0
        ("cifar10", None, False),
    ],
)
def test_a_folder_is_not_called_a_public_dataset(dataset, data, expected):
    from scalenet_training.publish.card import Publication

    run = record(config=dataclasses.replace(DIGITS, dataset=dataset), data=data)
    made = Publication("a", run, "best.keras", {}, None, ())
    assert made.of_files == expected
