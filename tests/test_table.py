"""The table of the data that is printed before a training."""

import json
import os
import shutil

import image_folders as images
import numpy as np
from scalenet_training.data.files.listing import Reading
from scalenet_training.data.inventory import Inventory
from scalenet_training.data.sources import open_source
from scalenet_training.data.table import render


def table_of(root, on_damaged="stop"):
    source = open_source(str(root), None, False, Reading(on_damaged))
    return render(source.inventory(), "Data: photos").splitlines()


def line(lines, start):
    """The rest of the only line that begins so, its spaces single."""
    (found,) = [text for text in lines if text.startswith(start)]
    return " ".join(found.removeprefix(start).split())


def test_a_table_says_what_there_is(tmp_path):
    images.make(tmp_path / "train", ("ant", "bee"), 5)
    images.make(tmp_path / "val", ("ant",), 2)
    (tmp_path / "val" / "bee").mkdir()
    (tmp_path / "train/ant/0.png").write_bytes(images.encoded(1, "JPEG", (20, 30)))
    shutil.copy(tmp_path / "train/ant/1.png", tmp_path / "val/ant/1.png")
    (tmp_path / "train/ant/Thumbs.db").write_bytes(b"")
    (tmp_path / "train/bee/notes.txt").write_text("notes")
    os.symlink("/nowhere", tmp_path / "train/bee/link")
    lines = table_of(tmp_path, "skip")
    assert lines[0] == "Data: photos"
    assert lines[1].split() == ["train", "validation"]
    assert line(lines, "images") == "10 2"
    assert line(lines, "  ant") == "5 2"
    assert line(lines, "  bee") == "5 0"
    assert line(lines, "smallest classes") == "in train: ant (5), bee (5)"
    assert line(lines, "not in validation") == "1 class ('bee')"
    assert line(lines, "formats") == "PNG 11, JPEG 1"
    assert line(lines, "width") == "8 to 30 pixels, median 8"
    assert line(lines, "height") == "8 to 20 pixels, median 8"
    assert line(lines, "left out") == (
        "1 hidden, or written by a system for itself: 'train/ant/Thumbs.db'"
    )
    damaged = [" ".join(text.split()) for text in lines if text.startswith("damaged")]
    assert damaged == [
        "damaged 1 a link to nothing: 'train/bee/link'",
        "damaged 1 not a JPEG, PNG, BMP or GIF image: 'train/bee/notes.txt'",
    ]
    at = next(n for n, text in enumerate(lines) if text.startswith("warning"))
    assert " ".join(" ".join(lines[at:]).split()) == (
        "warning 1 held-out image ('val/ant/1.png') also in training, byte for byte; "
        "'val/ant/1.png' is 'train/ant/1.png'"
    )


def test_a_table_of_many_classes_is_a_summary(tmp_path):
    images.make(tmp_path, [f"c{number:02}" for number in range(30)], 2)
    images.make(tmp_path, ("c07",), 12)
    lines = table_of(tmp_path)
    assert not [text for text in lines if text.startswith("  c")]
    assert line(lines, "  fewest in a class") == "1 1"
    assert line(lines, "  median in a class") == "1 1"
    assert line(lines, "  most in a class") == "9 3"
    assert line(lines, "classes") == "30"
    assert line(lines, "smallest classes") == "in train: c00 (1), c01 (1), c02 (1)"
    assert line(lines, "validation").startswith("a tenth of each class")
    assert max(map(len, lines)) <= 88


def test_a_table_of_digits_says_what_is_known_without_decoding():
    source = open_source("digits", None, False)
    lines = render(source.inventory(), "Data: digits").splitlines()
    assert line(lines, "images") == "1,438 359"
    assert line(lines, "  7") == "137 42"
    assert not [text for text in lines if text.startswith(("formats", "width"))]


def test_a_table_of_a_prepared_dataset_has_the_sizes_of_its_splits():
    lines = render(
        Inventory(("cat", "dog"), {"train": 50_000, "test": 10_000}), "Data: pets"
    ).splitlines()
    assert line(lines, "images") == "50,000 10,000"
    assert line(lines, "classes") == "2"


def test_a_table_shows_names_as_they_are():
    """rich would take [b] for bold, and :smile: for a picture."""
    inventory = Inventory(("[b]", ":smile:"), {"train": 3}, {"train": np.array([1, 2])})
    lines = render(inventory, "Data: [x]").splitlines()
    assert lines[0] == "Data: [x]"
    assert line(lines, "  [b]") == "1"
    assert line(lines, "  :smile:") == "2"


def test_cifar10_has_a_table_and_an_identity(data_dir):
    source = open_source("cifar10", f"{data_dir}/tfds", False)
    lines = render(source.inventory(), "Data: cifar10").splitlines()
    splits = source.identity["splits"]
    assert line(lines, "images").split() == [
        f"{splits[name]['examples']:,}" for name in source.split_names
    ]
    assert splits["train"]["bytes"] > splits["train"]["examples"] > 0
    assert source.identity["name"].startswith("cifar10/")
    json.dumps(source.identity)
