"""What is evaluated on: the data of the run by any of their names, or others, said."""

import json
import os
import shutil

import image_folders as images
import pytest
from conftest import TINY_CIFAR

pytestmark = pytest.mark.runs

SPLIT = "--eval-split validation[:2]"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run on the images of `photos`, and its export."""
    from scalenet_training.cli.app import run_command

    root = tmp_path_factory.mktemp("evaluated")
    photos = images.make(root / "photos", ("a", "b", "c"), 10)
    (root / "tiny.json").write_text(json.dumps(TINY_CIFAR.to_record()))
    words = f"--model {root}/tiny.json --epochs 1 --batch-size 4 {SPLIT}"
    words += f" --dataset {photos} --image-size 32 --preset digits"
    for verb, arguments in (
        ("train", f"{words} --workdir {root}/run"),
        ("export", f"{root}/run --format onnx --name tiny --to {root}/exports"),
    ):
        run_command(verb, arguments.split(), f"scalenet {verb}")
    shutil.copytree(root / "photos", root / "others")
    os.rename(root / "others" / "a", root / "others" / "d")
    os.symlink(root / "photos", root / "link")
    return root


def models(root):
    return [root / "run", next((root / "exports").rglob("*.onnx"))]


@pytest.mark.parametrize("name", ["photos/", "./photos", "{root}/photos", "link"])
@pytest.mark.parametrize("model", [0, 1], ids=["run", "export"])
def test_the_run_s_split_is_that_of_its_data_by_any_name(
    trained, run_verb, model, name, monkeypatch
):
    monkeypatch.chdir(trained)
    words = f"{models(trained)[model]} --dataset {name.format(root=trained)}"
    code, out, _ = run_verb("evaluate", words)
    assert (code, out.split()[0]) == (0, "2")


def test_a_path_that_is_not_in_the_card_has_to_be_given(trained, run_verb):
    export = models(trained)[1]
    card = json.loads((export.parent / "model_card.json").read_text())
    assert card["training"]["dataset"] == ".../photos"
    code, _, error = run_verb("evaluate", str(export))
    assert code == 2
    assert "--dataset must be given" in error
    assert "was trained on '.../photos', whose place is not in its" in error


def test_an_export_may_have_other_names_for_the_classes_of_its_run(trained, run_verb):
    (trained / "names.txt").write_text("Ant\nBee\nCat\n")
    words = f"{trained}/run --format onnx --name named --to {trained}/named"
    run_verb("export", f"{words} --class-names {trained}/names.txt")
    (path,) = (trained / "named").rglob("*.onnx")
    code, out, error = run_verb("evaluate", f"{path} --compare {trained}/run")
    assert (code, "the same likeliest class" in out) == (0, True)
    assert "the model's 'Ant' with the dataset's 'a'" in error
    (trained / "names.txt").write_text("b\na\nc\n")
    words = words.replace("named", "wrong")
    run_verb("export", f"{words} --class-names {trained}/names.txt")
    (path,) = (trained / "wrong").rglob("*.onnx")
    code, _, error = run_verb("evaluate", f"{path} --compare {trained}/run")
    assert code == 2
    assert "--compare must have the model's classes in the same order" in error


def test_a_run_that_was_trained_through_a_link_has_its_split(trained, run_verb):
    shutil.copytree(trained / "exports", trained / "linked")
    (path,) = (trained / "linked").rglob("*.onnx")
    card = path.parent / "model_card.json"
    card.write_text(card.read_text().replace(".../photos", ".../link"))
    code, out, _ = run_verb("evaluate", f"{path} --dataset {trained}/link")
    assert (code, out.split()[0]) == (0, "2")


@pytest.mark.parametrize("model", [0, 1], ids=["run", "export"])
def test_other_data_are_compared_by_the_names_of_their_classes(
    trained, run_verb, model
):
    words = f"{models(trained)[model]} --dataset {trained}/others"
    code, out, error = run_verb("evaluate", words)
    assert (code, out.split()[0]) == (0, "6")  # two of each class
    assert "note: classes are compared by their numbers: the model's 'a' with" in error
