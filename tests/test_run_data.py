"""A run whose data have changed: refused, and what differs is named."""

import csv
import dataclasses
import json
import os
import shutil

import image_folders as images
import pytest
from records import record
from scalenet_training.data.files.listing import Reading
from scalenet_training.data.source import Source
from scalenet_training.data.sources import open_source
from scalenet_training.data.splits import IndexedSplit
from scalenet_training.errors import UsageError
from scalenet_training.evaluate.config import EvaluateConfig
from scalenet_training.networks.saved_network import SavedNetwork
from scalenet_training.runs.run_data import RunData, check_outside
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.loop import train_and_evaluate
from situations import situation


def data_of(dataset, workdir=None, on_damaged="stop", parts=("train", "validation")):
    """The data of a run, opened as a run does."""
    index = None if workdir is None else os.path.join(workdir, "index.csv.gz")
    source = open_source(str(dataset), None, False, Reading(on_damaged, index))
    return RunData(source, *map(source.open_split, parts))


def begin(dataset, workdir, **options):
    """A run's folder, as its first step leaves it."""
    folder, data = RunFolder(workdir), data_of(dataset, **options)
    folder.write_record(record(data=data.facts))
    data.write(folder)
    return folder


def renamed(root):
    os.rename(root / "a/0.png", root / "a/zz.png")


def removed(root):
    for number in range(5):
        os.remove(root / f"a/{number}.png")


def added(root):
    images.add(root / "b", ["new.png"])


def replaced(root):
    (root / "a/0.png").write_bytes(images.encoded(0, "JPEG", (32, 32)))


def replaced_by_one_of_its_size(root):
    path = root / "a/0.png"
    data, size = images.encoded(1), path.stat().st_size
    assert len(data) <= size  # what follows an image's end is not read
    path.write_bytes(data.ljust(size, b"\0"))
    os.utime(path, ns=(0, 0))


def moved(root):
    os.rename(root / "a/0.png", root / "b/0 of a.png")


def many(root):
    renamed(root)
    (root / "a/1.png").write_bytes(images.encoded(0, "JPEG", (32, 32)))
    images.add(root / "b", ["new.png"])


CHANGES = [
    ("an image renamed", renamed,
     r"1 file is gone \('a/0.png'\); 1 file is new \('a/zz.png'\)"),
    ("images removed", removed,
     r"5 files are gone \('a/0.png', 'a/1.png', 'a/2.png' and 2 more\)"),
    ("an image added", added, r"1 file is new \('b/new.png'\)"),
    ("an image replaced by another", replaced,
     r"1 file is of another size \('a/0.png'\)"),
    ("an image replaced by another of the same size", replaced_by_one_of_its_size,
     r"1 file is of the same size, with other content \('a/0.png'\)"),
    ("an image in another class's folder", moved,
     r"1 file is gone \('a/0.png'\); 1 file is new \('b/0 of a.png'\)"),
    ("an image renamed, one replaced, one added", many,
     r"gone \('a/0.png'\); 2 files are new \('.*'\); 1 file is of another size"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "match"),
    [
        pytest.param(change, match, id=name, marks=situation("resuming", name))
        for name, change, match in CHANGES
    ],
)
def test_a_run_on_other_images_is_refused(change, match, tmp_path, outcome):
    root = tmp_path / "photos"
    folder = begin(images.make(root, count=20), tmp_path / "run")
    before = {p: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    change(root)
    with pytest.raises(UsageError, match=match) as caught:
        data_of(root, folder.path).check(folder)
    assert {p: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before
    differences = str(caught.value).split("on other data: ")[1].split(". Put")[0]
    outcome(f"refused: {differences}")


def touched(root):
    os.utime(root / "a/0.png", ns=(0, 0))


def beside(root):
    (root / "README.md").write_text("about")
    (root / "a" / ".DS_Store").write_bytes(b"")


def relocated(root):
    shutil.copytree(root, root.parent / "copy")
    shutil.rmtree(root)
    os.rename(root.parent / "copy", root)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(change, id=name, marks=situation("resuming", name))
        for name, change in [
            ("an image's time changed, not its content", touched),
            ("a README and hidden files added", beside),
            ("the folder copied back from elsewhere", relocated),
        ]
    ],
)
def test_a_run_on_the_same_images_goes_on(change, tmp_path, outcome):
    root = tmp_path / "photos"
    folder = begin(images.make(root, count=20), tmp_path / "run")
    change(root)
    data_of(root, folder.path).check(folder)
    outcome("goes on")


@situation("resuming", "images added to a split that the run does not use")
def test_splits_that_a_run_does_not_use_may_change(tmp_path, outcome):
    for split in ("train", "val", "test"):
        images.make(tmp_path / "photos" / split)
    folder = begin(tmp_path / "photos", tmp_path / "run")
    images.add(tmp_path / "photos/test/a", ["new.png"])
    data_of(tmp_path / "photos").check(folder)
    outcome("goes on")


@situation("resuming", "an image moved from training to validation")
def test_an_image_that_moves_between_splits_is_told(tmp_path, outcome):
    lines = [f"{folder}/{n}.png,{folder}" for folder in "ab" for n in range(4)]
    images.make(tmp_path, count=4)
    manifest = tmp_path / "photos.csv"

    def write(held_out):
        rows = [f"{line},{'val' if held_out in line else 'train'}" for line in lines]
        manifest.write_text("\n".join(["path,label,split", *rows]))

    write("/3.png")
    folder = begin(manifest, tmp_path / "run")
    data_of(manifest).check(folder)
    write("/2.png")
    with pytest.raises(UsageError, match="4 files are now in the other split") as e:
        data_of(manifest).check(folder)
    outcome(f"refused: {str(e.value).split('on other data: ')[1].split('. Put')[0]}")


@situation("resuming", "a label changed in the manifest")
def test_another_label_in_a_manifest_is_told(tmp_path, outcome):
    images.add(tmp_path, [f"{number}.png" for number in range(8)])
    manifest = tmp_path / "photos.csv"
    rows = [f"{number}.png,{'ab'[number % 2]}\n" for number in range(8)]
    manifest.write_text("path,label\n" + "".join(rows))
    folder = begin(manifest, tmp_path / "run", parts=("all", "all"))
    manifest.write_text("path,label\n" + "".join(["0.png,b\n", *rows[1:]]))
    with pytest.raises(UsageError, match=r"of another class \('0.png'") as caught:
        data_of(manifest, parts=("all", "all")).check(folder)
    outcome(
        f"refused: {str(caught.value).split('on other data: ')[1].split('. Put')[0]}"
    )


@situation("resuming", "the list of the run's images lost")
def test_without_its_list_a_run_still_knows_its_data(tmp_path, outcome):
    root = tmp_path / "photos"
    folder = begin(images.make(root, count=20), tmp_path / "run")
    os.remove(folder.file("data.csv.gz"))
    data_of(root).check(folder)
    renamed(root)
    with pytest.raises(UsageError, match=r"other data: train \('[0-9a-f]+' there"):
        data_of(root).check(folder)
    outcome("known all the same; the names cannot be given")


@situation("resuming", "a dataset of TensorFlow Datasets in another version")
def test_another_version_of_a_prepared_dataset_is_refused(tmp_path, outcome):
    split = IndexedSplit([0], None)
    folder = RunFolder(tmp_path / "run")

    def data(version, examples):
        splits = {"train": {"examples": examples, "bytes": 9}}
        identity = {"kind": "tfds", "name": f"x/{version}", "splits": splits}
        source = Source("x", ("a",), ("train",), lambda _: split, identity)
        return RunData(source, split, split)

    folder.write_record(record(data=data("1.0.0", 5).facts))
    data("1.0.0", 5).check(folder)
    with pytest.raises(UsageError, match=r"splits .*'examples': 5.*'examples': 6"):
        data("1.0.0", 6).check(folder)
    with pytest.raises(UsageError, match=r"there, 'x/1\.1\.0' now") as caught:
        data("1.1.0", 5).check(folder)
    outcome(
        f"refused: {str(caught.value).split('on other data: ')[1].split('. Put')[0]}"
    )


@situation("resuming", "a run of an earlier version, on a folder without splits")
def test_a_run_that_was_divided_by_places_is_refused(tmp_path, outcome):
    root = images.make(tmp_path / "photos")
    folder = RunFolder(tmp_path / "run")
    folder.write_record(record())
    with pytest.raises(UsageError, match="earlier version, which held out other") as e:
        data_of(root).check(folder)
    assert "another folder" in str(e.value)
    outcome("refused: it held out other images")


@situation("resuming", "a run of an earlier version, on a folder with splits")
def test_a_run_of_an_earlier_version_with_splits_goes_on(tmp_path, outcome):
    for split in ("train", "val"):
        images.make(tmp_path / "photos" / split)
    folder = RunFolder(tmp_path / "run")
    folder.write_record(record())
    data_of(tmp_path / "photos").check(folder)
    data_of("digits").check(folder)
    outcome("goes on; so does one on digits")


@situation("resuming", "evaluation of a run of an earlier version, without splits")
def test_a_run_that_was_divided_by_places_is_not_evaluated(tmp_path, outcome):
    root = images.make(tmp_path / "photos")
    recorded = record(TrainConfig(dataset=root))
    source = open_source(root, None, False)
    old = SavedNetwork(str(tmp_path / "run/best.keras"), recorded)
    new = SavedNetwork(old.path, dataclasses.replace(recorded, data={}))
    settings = EvaluateConfig("run")
    new.check_division(source, settings)
    with pytest.raises(UsageError, match=r"`run_or_model` .* held out other images"):
        old.check_division(source, settings)
    old.check_division(source, dataclasses.replace(settings, eval_split="all"))
    outcome("refused, but for --eval-split all")


@situation("resuming", "evaluation after an image was renamed, and on all images")
def test_an_evaluation_says_what_was_trained_on(tmp_path, outcome):
    root = tmp_path / "photos"
    folder = begin(images.make(root, count=20), tmp_path / "run")
    recorded = record(TrainConfig(dataset=str(root)))
    network = SavedNetwork(folder.file("best.keras"), recorded)

    def notes(**given):
        settings = EvaluateConfig("run", **given)
        source = network.source(settings)
        split = network.evaluation_split(source, settings)
        counted.append(network.trained_on(source, split, settings))
        return network.notes(source, split, settings)

    counted = []
    assert notes() == []
    trained = len(images.names_of(open_source(str(root), None, False), "train"))
    (seen,) = notes(eval_split="all")
    assert seen == f"the run was trained on {trained} of these 40 images"
    renamed(root)
    (gone,) = notes()
    assert gone.startswith("gone or replaced since the run: 1 of its 40 images (")
    images.make(tmp_path / "other", count=20)
    assert notes(dataset=str(tmp_path / "other")) == []
    assert counted == [0, trained, 0, None]
    outcome(f"a note: {gone.split(';')[0]}; {seen}")


@pytest.mark.parametrize(
    ("train_split", "seen"),
    [
        ("train", {"train[:100%]": 1438, "all": 1438, "validation": 0}),
        ("train[:10]", {"train": 10, "train[5:20]+validation": 5, "train[10:]": 0}),
    ],
)
def test_an_evaluation_counts_what_was_trained_on_of_digits(
    tmp_path, train_split, seen
):
    recorded = record(TrainConfig(train_split=train_split))
    network = SavedNetwork(str(tmp_path / "best.keras"), recorded)
    source = open_source("digits", None, False)
    for name, expected in seen.items():
        settings = EvaluateConfig("run", eval_split=name)
        split = network.evaluation_split(source, settings)
        assert network.trained_on(source, split, settings) == expected
        note = f"the run was trained on {expected:,} of these {split.size:,} images"
        assert network.notes(source, split, settings) == [note] * bool(expected)


def test_what_may_differ_when_a_run_resumes():
    config = TrainConfig(on_damaged="skip")
    assert config.differences(TrainConfig()) == {"on_damaged": ("stop", "skip")}


@situation("resuming", "damaged images, --on-damaged skip")
def test_a_run_lists_what_it_left_out(tmp_path, outcome):
    root = tmp_path / "photos"
    images.make(root, count=20)
    name = os.fsdecode(b"\xe9,.png")
    (root / "a" / name).write_bytes(b"no image")
    folder = begin(root, tmp_path / "run", on_damaged="skip")
    with open(folder.file("damaged.csv"), "rb") as file:
        rows = list(csv.reader(file.read().decode("latin-1").splitlines()))
    assert rows == [
        ["path", "reason"],
        ["a/é,.png", "not a JPEG, PNG, BMP or GIF image"],
    ]
    again = data_of(root, folder.path, on_damaged="skip")
    again.check(folder)
    assert not again.source.images.index.changed
    os.remove(root / "a" / name)
    data_of(root, on_damaged="skip").check(folder)
    outcome("goes on without them; damaged.csv lists them")


def test_the_list_of_a_run_is_a_table(tmp_path):
    import gzip

    images.make(tmp_path / "photos", count=2)
    begin(tmp_path / "photos", tmp_path / "run", parts=("all", "validation"))
    with gzip.open(tmp_path / "run/data.csv.gz", "rt", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["part", "path", "class", "size"]
    assert [row[0] for row in rows].count("evaluation") == 2
    size = os.path.getsize(tmp_path / "photos/a/0.png")
    assert rows[0] == ["train", "a/0.png", "a", str(size)]


def tiny_run(root, tiny_cifar_file, **settings):
    return TrainConfig(
        dataset=images.make(root, count=20),
        model=tiny_cifar_file,
        batch_size=4,
        epochs=1,
        max_steps=1,
        augment="none",
        strategy="none",
        **settings,
    )


@situation("resuming", "train.py, an image renamed between two starts")
def test_training_refuses_a_run_on_renamed_images(tmp_path, tiny_cifar_file, outcome):
    root, workdir = tmp_path / "photos", tmp_path / "run"
    config = tiny_run(root, tiny_cifar_file)
    folder = begin(root, workdir)
    recorded = dataclasses.replace(folder.read_record(), config=config)
    folder.write_record(recorded)
    renamed(root)
    with pytest.raises(UsageError, match=r"1 file is gone .*1 file is new") as caught:
        train_and_evaluate(config, str(workdir))
    assert folder.read_record() == recorded
    outcome(
        "exit code 2: "
        f"{str(caught.value).split('on other data: ')[1].split('. Put')[0]}"
    )


@pytest.mark.slow
def test_a_run_keeps_its_data_and_goes_on_with_them(tmp_path, tiny_cifar_file, capsys):
    root, workdir = tmp_path / "photos", tmp_path / "run"
    config = tiny_run(root, tiny_cifar_file, on_damaged="skip")
    (root / "a/cut.png").write_bytes(images.encoded(1)[:-40])
    train_and_evaluate(config, str(workdir))
    table = (workdir / "data.txt").read_text()
    assert table in capsys.readouterr().out
    assert "a tenth of each class" in table
    recorded = json.loads((workdir / "config.json").read_text())
    assert set(recorded["data"]) == {"kind", "division", "train", "evaluation"}
    kept = {"data.csv.gz", "index.csv.gz", "damaged.csv"}
    assert kept <= {*os.listdir(workdir)}
    touched(root)
    config = dataclasses.replace(config, max_steps=2)
    assert train_and_evaluate(config, str(workdir))["epoch"] == 0
    assert "1 file ('a/0.png') with another time" in capsys.readouterr().out
    renamed(root)
    with pytest.raises(UsageError, match=r"1 file is gone .*1 file is new"):
        train_and_evaluate(config, str(workdir))


def test_the_table_says_what_a_run_takes_of_its_data(tmp_path):
    root = images.make(tmp_path, ("a", "b", "c"), 20)
    assert "The run takes" not in data_of(root).table
    few = data_of(root, parts=("train[:2]", "validation[:50%]")).table
    taken = "The run takes 2 of them for training and 4 for evaluation.\n"
    assert f"{taken}warning: 1 class without an image to train on: 'a'\n" in few


def test_a_folder_to_write_to_is_not_among_the_images(here):
    images.make("photos")
    images.make("digits")
    allowed = [("runs", "photos"), ("digits/run", "digits")]
    allowed += [("photos/a/run", "photos/list.csv"), ("photos/a/run", "./none")]
    for folder, dataset in allowed:
        check_outside(folder, dataset, None)
    check_outside("photos/a/run", "photos", "tfds")  # the name of a prepared dataset
    with pytest.raises(UsageError) as refused:
        check_outside("photos/a/run", "./photos", None)
    assert str(refused.value) == (
        "`workdir` must be outside of the folder of `dataset`, whose folders are "
        "classes, and whose files are images. Received: 'photos/a/run', which is in "
        "'./photos'."
    )


@pytest.mark.parametrize("kind", ["folder", "manifest"])
def test_a_run_goes_on_where_its_images_are_elsewhere_now(kind, tmp_path):
    """Which images they are is compared, not what the path to them is called."""
    images.make(tmp_path / "photos")
    name = "" if kind == "folder" else "images.csv"
    settings = TrainConfig(dataset=str(tmp_path / "photos" / name))
    folder = RunFolder(str(tmp_path / "run"))
    folder.write_record(record(settings, data={"kind": kind}))
    for path in (tmp_path / "moved" / name, tmp_path / "moved" / "b.csv"):
        path.parent.mkdir(exist_ok=True)
        config = dataclasses.replace(settings, dataset=str(path))
        if kind == "folder" and path.suffix:  # a manifest is another dataset
            with pytest.raises(UsageError, match=r"other settings: dataset \('.*there"):
                folder.check(config)
        else:
            folder.check(config)
    for other in ("digits", "cifar10"):
        with pytest.raises(UsageError, match=r"other settings: dataset \('.*there"):
            folder.check(dataclasses.replace(settings, dataset=other))
