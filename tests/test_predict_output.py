"""What predict.py writes: CSV, lines of JSON, accuracy, and answers to lines."""

import contextlib
import csv
import io
import json
import os
import sys

import pytest
from scalenet_training.predict import predictors
from scalenet_training.predict.config import PredictConfig
from scalenet_training.predict.images import ImageFile, image_files
from scalenet_training.settings.base import SettingError
from test_commands import in_process

from scalenet_tf.serving import Prediction
from scalenet_tf.serving.messages import INVALID

CAT, DOG = b"cat, surely", b"dog, perhaps"
ANSWERS = {
    CAT: Prediction(("cat", "a, dog"), (0.75, 0.25), (0, 1)),
    DOG: Prediction(("a, dog", "cat"), (0.5625, 0.4375), (1, 0)),
}


class Fake:
    """Answers by the content of files; keeps how many came at a time."""

    class_names = ("cat", "a, dog")

    def __init__(self):
        self.batches = []

    def predict(self, images, top_k):
        self.batches.append(len(images))
        return [self._answer(data, top_k) for data in images]

    def _answer(self, data, top_k):
        found = ANSWERS.get(data, INVALID)
        return Prediction(
            found.names[:top_k],
            found.probabilities[:top_k],
            found.classes[:top_k],
            found.valid,
        )


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """A model in place of all others."""
    predictor = Fake()
    monkeypatch.setattr(
        predictors, "open_predictor", lambda *_: contextlib.nullcontext(predictor)
    )
    monkeypatch.chdir(tmp_path)
    return predictor


@pytest.fixture
def photos(tmp_path):
    """Folders of classes in that of a split: right, wrong, damaged, no class."""
    for name, data in {
        "val/cat/deep/1.jpg": CAT,
        "val/cat/2.jpg": DOG,
        "val/a, dog/3.png": DOG,
        "val/a, dog/4.png": b"",
        "val/zebra/5.png": CAT,
    }.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return "photos"


@pytest.fixture
def predict(fake, monkeypatch, capsys):
    """Runs the command in this process: exit code, stdout, stderr."""

    def run(*words):
        capsys.readouterr()
        code = in_process(monkeypatch, "predict.py", *words, "--model", ".")
        return code, *capsys.readouterr()

    return run


CSV = """\
file,error,true_name,class_1,name_1,probability_1,class_2,name_2,probability_2
"photos/val/a, dog/3.png",,"a, dog",1,"a, dog",0.5625,0,cat,0.4375
"photos/val/a, dog/4.png",an empty file,"a, dog",,,,,,
photos/val/cat/2.jpg,,cat,1,"a, dog",0.5625,0,cat,0.4375
photos/val/cat/deep/1.jpg,,cat,0,cat,0.75,1,"a, dog",0.25
photos/val/zebra/5.png,,,0,cat,0.75,1,"a, dog",0.25
"""


def test_a_csv_file_has_a_row_for_each_image(predict, photos):
    code, out, err = predict(photos, "--csv", "a.csv", "--top-k", "2")
    assert (code, out) == (1, "")
    with open("a.csv", encoding="utf-8") as file:
        assert file.read() == CSV
    *_, accuracy, path, speed, error = err.splitlines()
    assert accuracy == (
        "2 of 3 images right by their folders: top-1 accuracy 66.67%, top-2 100.00%"
    )
    assert path == "a.csv"
    assert speed.startswith("5 images in ")
    assert speed.endswith(" images/s")
    assert error == (
        "error: cannot be decoded: photos/val/a, dog/4.png (an empty file)."
    )
    assert predict(photos, "--csv", "-", "--top-k", "2")[1] == CSV


def test_files_that_cannot_be_read_are_answered_by_an_error(predict, fake, photos):
    os.symlink("nothing", f"{photos}/0.jpg")  # before all others
    os.mkfifo(f"{photos}/pipe.jpg")
    code, _, err = predict(photos, "--jsonl", "a.jsonl", "--top-k", "1")
    assert code == 1
    with open("a.jsonl", encoding="utf-8") as file:
        answers = [json.loads(line) for line in file]
    reasons = {
        "photos/0.jpg": "cannot read 'photos/0.jpg': No such file or directory",
        "photos/pipe.jpg": "cannot read 'photos/pipe.jpg': neither a file nor a folder",
        "photos/val/a, dog/4.png": "an empty file",
    }
    assert {a["file"]: a["error"] for a in answers if "error" in a} == reasons
    assert [answer["valid"] for answer in answers].count(True) == 4
    assert fake.batches == [5]
    named = ", ".join(f"{path} ({reason})" for path, reason in reasons.items())
    assert err.splitlines()[-1] == f"error: cannot be decoded: {named}."
    code, out, _ = predict(f"{photos}/pipe.jpg", f"{photos}/val/cat/2.jpg", "--json")
    assert (code, [one["valid"] for one in json.loads(out)]) == (1, [False, True])


def test_ranks_that_a_model_lacks_are_empty_cells(predict, photos):
    predict(photos, "--csv", "a.csv", "--top-k", "4")
    with open("a.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {len(row) for row in rows} == {3 + 3 * 4}
    assert rows[0]["probability_2"] == "0.4375"
    assert rows[0]["name_3"] == rows[0]["class_4"] == ""


def test_lines_of_json_are_the_objects_of_json(predict, photos):
    assert predict(photos, "--jsonl", "a.jsonl", "--top-k", "1")[1] == ""
    with open("a.jsonl", encoding="utf-8") as file:
        text = file.read()
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines[:2] == [
        {
            "file": "photos/val/a, dog/3.png",
            "valid": True,
            "true_name": "a, dog",
            "predictions": [{"class": 1, "name": "a, dog", "probability": 0.5625}],
        },
        {
            "file": "photos/val/a, dog/4.png",
            "valid": False,
            "error": "an empty file",
            "true_name": "a, dog",
            "predictions": [],
        },
    ]
    assert predict(photos, "--jsonl", "-", "--top-k", "1")[1] == text
    assert json.loads(predict(photos, "--json", "--top-k", "1")[1]) == lines


def test_a_file_appears_whole_or_not_at_all(predict, fake, photos, monkeypatch):
    with open("a.csv", "w", encoding="utf-8") as file:
        file.write("before")
    nan = Prediction(("cat",), (float("nan"),), (0,))
    monkeypatch.setitem(ANSWERS, CAT, nan)
    options = ["--csv", "a.csv", "--jsonl", "a.jsonl", "--batch-size", "1"]
    code, _, err = predict(photos, *options)
    assert code == 1
    assert "probabilities that are NaN or infinite, for 'photos/val/cat/deep/" in err
    with open("a.csv", encoding="utf-8") as file:
        assert file.read() == "before"
    assert sorted(os.listdir(".")) == ["a.csv", "photos"]


def test_batches_have_the_size_that_was_asked_for(predict, fake, photos):
    predict(photos, "--batch-size", "2")
    assert fake.batches == [2, 2, 1]


def test_a_class_whose_folder_is_not_utf_8_counts(predict, fake, monkeypatch):
    folder = os.path.join("photos", os.fsdecode(b"x\xff"))
    os.makedirs(folder)
    with open(os.path.join(folder, "1.jpg"), "wb") as file:
        file.write(CAT)
    name = r"x\xff"  # as a dataset's listing has it
    monkeypatch.setattr(fake, "class_names", (name, "a, dog"))
    monkeypatch.setitem(ANSWERS, CAT, Prediction((name,), (0.75,), (0,)))
    code, _, err = predict("photos", "--csv", "a.csv")
    assert code == 0
    assert "1 of 1 images right by their folders" in err
    with open("a.csv", encoding="utf-8", errors="surrogateescape") as file:
        (row,) = csv.DictReader(file)
    assert row["true_name"] == row["name_1"] == name
    assert row["file"] == f"{folder}/1.jpg"


@pytest.mark.parametrize(
    ("paths", "folder"),
    [
        ("cat/a.jpg", "cat"),
        (os.fsdecode(b"\xff/a.jpg"), r"\xff"),
        (os.fsdecode(b"val/\xff/a.jpg"), r"\xff"),
        ("cat/deep/a.jpg", "cat"),
        ("Train/cat/a.jpg", "cat"),
        ("val/a.jpg", "val"),  # a class may be called so
        ("a.jpg", None),
    ],
)
def test_the_class_that_a_folder_tells(paths, folder, tmp_path):
    (tmp_path / paths).parent.mkdir(parents=True, exist_ok=True)
    path = str(tmp_path / paths)
    (tmp_path / paths).write_bytes(CAT)
    assert image_files([str(tmp_path)]) == [ImageFile(path, folder)]
    assert image_files([path, str(tmp_path)]) == [ImageFile(path)]


def test_each_line_is_answered_by_a_line(predict, fake, photos, monkeypatch):
    os.mkfifo("pipe")
    names = ["photos/val/cat/2.jpg", "no\u0300thing", "", "pipe"]
    lines = "\n".join(names).encode() + b"\r\nphotos/val/a, dog/4.png\n"
    lines += b"\xff\nphotos/val/zebra/5.png\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    code, out, err = predict("-", "--top-k", "1", "--batch-size", "3")
    answers = [json.loads(line) for line in out.splitlines()]
    assert [os.fsencode(answer["file"]) for answer in answers] == [
        *(name.encode() for name in names),
        b"photos/val/a, dog/4.png",
        b"\xff",
        b"photos/val/zebra/5.png",
    ]
    assert [answer.get("error") for answer in answers] == [
        None,
        "cannot read 'no\u0300thing': No such file or directory",
        "cannot read '': No such file or directory",
        "cannot read 'pipe': neither a file nor a folder",
        "an empty file",
        "cannot read '\\udcff': No such file or directory",
        None,
    ]
    assert answers[0]["predictions"] == [
        {"class": 1, "name": "a, dog", "probability": 0.5625}
    ]
    assert fake.batches == [1, 1, 1]  # of three lines each, those that can be read
    assert (code, err) == (1, "error: 5 lines were answered with an error.\n")


@pytest.mark.parametrize("lines", [b"", b"photos/val/cat/2.jpg"])
def test_the_end_of_input_is_success(lines, predict, photos, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    code, out, err = predict("-")
    assert (code, len(out.splitlines()), err) == (0, len(lines.split()), "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": ("-", "a")}, "IMAGES must be - alone.*Received: - a[.]"),
        ({"images": ("-",), "json": True}, "Received: - with `json`"),
        (
            {"images": ("a",), "csv": "-", "jsonl": "-"},
            "only one of `json`, `csv`, `jsonl` can have standard output",
        ),
        ({"images": ("a",), "csv": "-", "json": True}, "csv='-', jsonl=None, json=Tr"),
    ],
)
def test_outputs_that_exclude_each_other(settings, message):
    with pytest.raises(SettingError, match=message):
        PredictConfig(model="m", **settings)
    PredictConfig(images=("a",), model="m", csv="-", jsonl="a.jsonl")


@pytest.mark.parametrize("path", ["none/a.csv", "photos/val"])
def test_an_output_is_a_file_in_a_folder(predict, photos, path):
    code, _, err = predict(photos, "--csv", path)
    assert code == 2
    assert "--csv must be a file in a folder that exists, or - for standard" in err


@pytest.mark.parametrize("option", ["--csv", "--jsonl"])
@pytest.mark.parametrize("path", ["photos/val/cat/2.jpg", "NEW.PNG", "a.heic"])
def test_no_image_is_written_over(predict, photos, option, path):
    code, out, err = predict(option, path, f"{photos}/val/zebra/5.png")
    assert (code, out) == (2, "")
    assert f"{option} must not end in .jpg, .jpeg, .png, .bmp, .gif, " in err
    assert f"Received: {path!r}" in err
    with open(f"{photos}/val/cat/2.jpg", "rb") as file:
        assert file.read() == DOG


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({"csv": "./photo"}, "csv"),
        ({"csv": "link"}, "csv"),
        ({"jsonl": "m.tflite"}, "jsonl"),
        ({"csv": "o.txt", "jsonl": "./o.txt"}, "jsonl"),
        ({"csv": "names.txt", "class_names": "names.txt"}, "csv"),
        ({"jsonl": "ca.pem", "ca_file": "ca.pem"}, "jsonl"),
    ],
)
def test_an_output_is_no_other_file_that_was_given(
    settings, option, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    os.symlink("photo", "link")
    with pytest.raises(SettingError, match=f"`{option}` must be another file than"):
        PredictConfig(images=("photo",), model="m.tflite", **settings)
    PredictConfig(images=("photo",), model="m.tflite", csv="o.txt", jsonl="p")


MODELS = ("a.tflite", "http://me:secret@localhost:9/v1/models/m", "grpc://h/m")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("normalization", "none"),
        ("eval_resize", 99),
        ("image_size", 64),
        ("class_names", "names.txt"),
    ],
)
def test_an_export_and_a_server_have_their_own_way(model, option, value):
    config = PredictConfig(images=("a",), model=model, **{option: value})
    with (
        pytest.raises(SettingError, match=f"`{option}` is for Keras models: ") as e,
        predictors.open_predictor(config),
    ):
        pass
    assert f"Received: {value!r}." in str(e.value)
    assert "secret" not in str(e.value)
