"""Folders of images as people have them: used, left out with a reason, or refused."""

import os
import shutil

import image_folders as images
import numpy as np
import pytest
import tensorflow as tf
from scalenet_training.data.errors import data_errors
from scalenet_training.data.files.folder import is_listed
from scalenet_training.data.files.listing import Reading
from scalenet_training.data.sources import open_source
from scalenet_training.errors import RunError
from situations import situation

SKIP = Reading(on_damaged="skip")


def opened(root, reading=None):
    return open_source(os.fspath(root), None, False, *([reading] if reading else []))


def refusal(root, match, reading=None):
    """What is said where a folder is refused, without the folder's own path."""
    with pytest.raises(ValueError, match=match) as caught:
        opened(root, reading)
    return str(caught.value).replace(f"{root}/", "").replace(str(root), "photos")


@situation("folders", "images in folders within a class's folder")
def test_images_in_nested_folders_are_used(tmp_path, outcome):
    images.make(tmp_path)
    images.make(tmp_path / "a", ("more", "more/and more"))
    names = images.names_of(opened(tmp_path), "all")
    assert len(names) == 24
    assert {"a/more/0.png", "a/more/and more/5.png"} <= {*names}
    outcome(f"used: {len(names)} of 24")


@situation("folders", "links to nothing")
def test_links_to_nothing_are_an_error(tmp_path, outcome):
    images.make(tmp_path)
    for number in range(4):
        os.symlink(f"/nowhere/{number}.png", tmp_path / "a" / f"link{number}.png")
    text = refusal(tmp_path, r"4 of 16 files cannot be used as images: 'a/link0.png' ")
    assert "'a/link2.png' (a link to nothing) and 1 more." in text
    assert "`on_damaged` skip" in text
    assert "manifest" in text
    outcome(f"refused: {text.split(': ')[1]}: 'a/link0.png' (a link to nothing), ...")


@situation("folders", "links to nothing, --on-damaged skip")
def test_links_to_nothing_can_be_left_out(tmp_path, outcome):
    images.make(tmp_path)
    os.symlink("/nowhere/0.png", tmp_path / "a" / "link.png")
    source = opened(tmp_path, SKIP)
    assert len(images.names_of(source, "all")) == 12
    ((name, reason),) = source.images.damaged
    assert (name, reason) == ("a/link.png", "a link to nothing")
    outcome(f"left out, with the reason: {reason}")


@situation("folders", "a link to a folder that it lies in")
def test_links_that_lead_around_are_an_error(tmp_path, outcome):
    images.make(tmp_path)
    os.symlink(tmp_path / "a", tmp_path / "a" / "again")
    text = refusal(tmp_path, r"1 of 13 files .*'a/again' \(a link to a folder that it")
    outcome(f"refused: {text.split('images: ')[1].split('. ')[0]}")


def test_a_class_that_links_to_the_whole_is_an_error(tmp_path):
    images.make(tmp_path)
    os.symlink(tmp_path, tmp_path / "c")
    refusal(tmp_path, r"'c' \(a link to a folder that it lies in\)")


@situation("folders", "links to images and to folders elsewhere")
def test_links_to_images_and_folders_are_followed(tmp_path, outcome):
    images.make(tmp_path / "photos")
    images.make(tmp_path / "elsewhere", ("c",))
    os.symlink(tmp_path / "elsewhere" / "c", tmp_path / "photos" / "c")
    os.symlink(tmp_path / "elsewhere/c/0.png", tmp_path / "photos/a/6.png")
    source = opened(tmp_path / "photos")
    assert source.class_names == ("a", "b", "c")
    assert len(images.names_of(source, "all")) == 19
    outcome("followed")


@situation("folders", "a pipe among the images")
def test_what_is_neither_file_nor_folder_is_an_error(tmp_path, outcome):
    images.make(tmp_path)
    os.mkfifo(tmp_path / "a" / "pipe.png")
    text = refusal(tmp_path, r"'a/pipe.png' \(neither a file nor a folder\)")
    outcome(f"refused: {text.split('images: ')[1].split('. ')[0]}")


@situation("folders", "names that are not UTF-8")
def test_names_may_have_any_bytes(tmp_path, outcome):
    images.make(tmp_path, ("a", os.fsdecode(b"caf\xe9")), 2)
    images.add(tmp_path / "a", [os.fsdecode(b"\xfc.png"), "naïve 图.png"])
    source = opened(tmp_path)
    assert source.class_names == ("a", "caf\\xe9")
    split = source.open_split("all")
    assert split.size == 6
    for reference in split.references(None):
        assert len(split.fetch(reference)["image"].numpy()) > 100
    text = source.inventory().class_names[1] + split.files[3]
    assert repr(text).encode()
    with open(tmp_path / "a" / os.fsdecode(b"\xfc.png"), "wb") as file:
        file.write(b"no image")
    error = refusal(tmp_path, r"'a/\\xfc\.png' \(not a JPEG, PNG, BMP or GIF image\)")
    assert error.isascii()
    outcome(f"used: {split.size} of 6; printed as {source.class_names[1]}")


@situation("folders", "hidden files, Thumbs.db, .DS_Store, desktop.ini, __MACOSX")
def test_what_systems_leave_behind_is_left_out_and_counted(tmp_path, outcome):
    images.make(tmp_path)
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "._0.png"):
        (tmp_path / "a" / name).write_bytes(b"nothing")
    images.make(tmp_path, ("__MACOSX", ".git"))
    source = opened(tmp_path)
    assert source.class_names == ("a", "b")
    assert len(images.names_of(source, "all")) == 12
    left_out = source.inventory().left_out
    assert len(left_out) == 6
    assert {reason for _, reason in left_out} == {
        "hidden, or written by a system for itself"
    }
    outcome(f"left out and counted ({len(left_out)} of 6)")


@situation("folders", "a class whose name begins with two underscores")
def test_only_the_folders_of_systems_are_no_classes(tmp_path, outcome):
    images.make(tmp_path, ("a", "__background__"))
    assert opened(tmp_path).class_names == ("__background__", "a")
    outcome("used")


@situation("folders", "files beside the classes' folders")
def test_files_in_no_class_are_left_out_and_counted(tmp_path, outcome):
    images.make(tmp_path)
    images.add(tmp_path, ["lost.png"])
    (tmp_path / "README.md").write_text("about")
    left_out = opened(tmp_path).inventory().left_out
    assert left_out == [
        ("README.md", "in no class's folder"),
        ("lost.png", "in no class's folder"),
    ]
    outcome(f"left out and counted: {len(left_out)} {left_out[0].reason}")


@situation("folders", "labels.csv among the images")
def test_files_that_are_no_images_are_an_error(tmp_path, outcome):
    images.make(tmp_path)
    (tmp_path / "a" / "labels.csv").write_text("path,label\n")
    text = refusal(
        tmp_path,
        r"1 of 13 files .*'a/labels.csv' \(not a JPEG, PNG, BMP or GIF image\)",
    )
    assert "`on_damaged` skip" in text
    assert "manifest" in text
    source = opened(tmp_path, SKIP)
    assert source.images.damaged == [
        ("a/labels.csv", "not a JPEG, PNG, BMP or GIF image")
    ]
    outcome(
        "refused, or left out with --on-damaged skip: not a JPEG, PNG, BMP or GIF image"
    )


@situation("folders", "upper-case suffixes, no suffix, a wrong suffix")
def test_the_content_says_what_an_image_is(tmp_path, outcome):
    images.make(tmp_path)
    images.add(tmp_path / "a", ["IMG_1.JPG", "no suffix", "wrong.png"], "JPEG")
    source = opened(tmp_path)
    assert len(images.names_of(source, "all")) == 15
    assert source.inventory().formats == {"PNG": 12, "JPEG": 3}
    outcome("used: the content decides")


@pytest.mark.parametrize(
    ("train", "held_out", "name"),
    [
        pytest.param(
            train,
            held_out,
            name,
            marks=situation("folders", f"splits named {train} and {held_out}"),
        )
        for train, held_out, name in [
            ("train", "valid", "validation"),
            ("Train", "Validation", "validation"),
            ("TRAINING", "dev", "validation"),
            ("training", "eval", "validation"),
            ("train", "Testing", "test"),
        ]
    ],
)
def test_splits_have_the_names_that_people_give_them(
    train, held_out, name, tmp_path, outcome
):
    images.make(tmp_path / train)
    images.make(tmp_path / held_out, count=2)
    source = opened(tmp_path)
    assert source.class_names == ("a", "b")
    assert source.split_names == ("train", name)
    assert source.evaluation_split == name
    assert images.names_of(source, name)[0] == f"{held_out}/a/0.png"
    outcome(images.sizes_of(source))


@situation("folders", "splits named train, val and valid")
def test_two_folders_for_one_split_are_an_error(tmp_path, outcome):
    for name in ("train", "val", "valid"):
        images.make(tmp_path / name, count=1)
    text = refusal(tmp_path, "'val' and 'valid' of .* are both the validation split")
    outcome(f"refused: {text.removeprefix('`dataset`: ')}")


def test_two_folders_for_the_training_split_are_not_classes(tmp_path):
    for name in ("train", "Training"):
        images.make(tmp_path / name, count=1)
    refusal(tmp_path, "'Training' and 'train' of .* are both the train split")


@situation("folders", "a folder beside train and val")
def test_folders_beside_the_splits_are_left_out_and_counted(tmp_path, outcome):
    for name in ("train", "val", "unlabelled"):
        images.make(tmp_path / name)
    source = opened(tmp_path)
    assert source.class_names == ("a", "b")
    (left_out,) = source.inventory().left_out
    assert left_out == ("unlabelled", "folder beside those of the splits")
    outcome(f"left out and counted: {left_out.reason}")


@situation("folders", "classes that are called train and test")
def test_classes_may_have_the_names_of_splits(tmp_path, outcome):
    images.make(tmp_path, ("test", "train"))
    source = opened(tmp_path)
    assert source.class_names == ("test", "train")
    outcome(f"classes, since no folders are in them; {images.sizes_of(source)}")


@situation("folders", "test and train, of which test has no folders of classes")
def test_a_test_split_without_classes_is_an_error(tmp_path, outcome):
    images.make(tmp_path / "train")
    images.add(tmp_path / "test", ["1.png", "2.png"])
    text = refusal(tmp_path, "'.*test', which differs from 'train'.* lacks 'a', 'b'.")
    outcome(f"refused: {text.split('Received: ')[1]}")


@situation("folders", "classes that differ between the splits")
def test_other_classes_in_a_split_are_an_error_with_names(tmp_path, outcome):
    images.make(tmp_path / "train", ("a", "b", "c", "d", "e", "f"))
    images.make(tmp_path / "val", ("a", "f", "x"))
    text = refusal(tmp_path, "It lacks 'b', 'c', 'd' and 1 more. It has 'x' too")
    outcome(f"refused: {text.split('Received: ')[1]}")


@situation("folders", "one folder, train, with the classes in it")
def test_a_folder_above_the_classes_is_told_apart(tmp_path, outcome):
    images.make(tmp_path / "train")
    text = refusal(tmp_path, "at least 2 sub-folders.*with 1. If its classes are in ")
    assert text.endswith("'train', give that folder.")
    outcome("refused: if its classes are in 'train', give that folder")


@situation("folders", "a class without images")
def test_a_class_without_images_is_an_error(tmp_path, outcome):
    images.make(tmp_path)
    (tmp_path / "c" / "empty").mkdir(parents=True)
    text = refusal(tmp_path, r"1 of 3 classes of .* have no images: 'c'\.")
    outcome(f"refused: {text.removeprefix('`dataset`: ')}")


def test_a_class_whose_images_are_all_damaged_is_an_error(tmp_path):
    images.make(tmp_path)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "0.png").write_bytes(b"no image")
    refusal(tmp_path, "1 of 3 classes .* have no images that can be read: 'c'", SKIP)


@situation("folders", "validation lacks the images of a class, not its folder")
def test_a_class_without_validation_images_is_told(tmp_path, outcome):
    images.make(tmp_path / "train")
    images.make(tmp_path / "val", ("a",), 2)
    (tmp_path / "val" / "b").mkdir()
    inventory = opened(tmp_path).inventory()
    assert inventory.classes_without("validation") == ["b"]
    outcome("used; the table names the class")


@situation("folders", "a damaged image, its header whole")
def test_a_damaged_body_is_an_error_when_it_is_met(tmp_path, outcome):
    images.make(tmp_path)
    whole = images.encoded(1, "JPEG", (64, 64))
    (tmp_path / "a" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    split = opened(tmp_path).open_split("all")
    with pytest.raises(RunError, match=r"cut\.jpg") as caught, data_errors(split):
        raise tf.errors.InvalidArgumentError(None, None, "damaged")
    assert "`on_damaged` skip" in str(caught.value)
    outcome("an error when it is met, which names it")


@situation("folders", "a damaged image, its header whole, --on-damaged skip")
def test_a_damaged_body_can_be_left_out(tmp_path, outcome):
    images.make(tmp_path)
    before = {part: images.names_of(opened(tmp_path), part) for part in ("train",)}
    whole = images.encoded(1, "JPEG", (64, 64))
    (tmp_path / "a" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    source = opened(tmp_path, SKIP)
    ((name, reason),) = source.images.damaged
    assert name == "a/cut.jpg"
    assert reason.startswith("cannot be decoded: ")
    assert images.names_of(source, "train") == before["train"]
    outcome("decoded before the run, left out, with the decoder's reason")


def test_a_split_without_a_held_out_image_says_why(tmp_path):
    from scalenet_training.data.source import open_split

    source = opened(images.make(tmp_path, [f"c{n:02}" for n in range(20)], 1))
    labels = {int(source.open_split("train").lookup(n)[1]) for n in range(20)}
    assert len(labels) == 20
    with pytest.raises(ValueError, match="No class has 2 images"):
        open_split(source, "validation", "`eval_split`")


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(n, marks=situation("folders", f"no splits, {n} of each class"))
        for n in (1, 2, 10, 100)
    ],
)
def test_the_tenth_that_is_held_out_leaves_every_class_images(count, tmp_path, outcome):
    source = opened(images.make(tmp_path, ("a", "b", "c"), count))
    train, held_out = (
        source.inventory().by_class[name] for name in ("train", "validation")
    )
    assert list(train + held_out) == [count] * 3
    assert min(train) >= 1
    assert max(held_out) <= max(1, 0.2 * count)
    assert (min(held_out) >= 1) == (count > 1)
    outcome(f"held out of each class: {min(held_out)} to {max(held_out)}")


@situation("folders", "no splits, the folder renamed, images added")
def test_the_division_hangs_on_names_alone(tmp_path, outcome):
    before = opened(images.make(tmp_path / "photos", count=40))
    held_out = images.names_of(before, "validation")
    shutil.move(tmp_path / "photos", tmp_path / "renamed")
    images.add(tmp_path / "renamed" / "a", [f"{n}.png" for n in range(40, 80)])
    images.make(tmp_path / "renamed", ("Another",), 40)
    after = images.names_of(opened(tmp_path / "renamed"), "validation")
    assert {*held_out} <= {*after}
    assert 3 < len(held_out) < len(after)
    outcome("the same images are held out as before, and a tenth of the new ones")


@situation("folders", "the same image in training and validation")
def test_equal_images_in_training_and_validation_are_told(tmp_path, outcome):
    images.make(tmp_path / "train", count=5)
    images.make(tmp_path / "val", count=5)
    shutil.copy(tmp_path / "train/a/1.png", tmp_path / "val/b/copy.png")
    shutil.copy(tmp_path / "train/a/1.png", tmp_path / "train/a/again.png")
    (pair,) = opened(tmp_path).inventory().equal
    assert pair == ("validation", "val/b/copy.png", "train/a/1.png")
    outcome("used; the table counts and names them")


def test_the_order_is_that_of_labels_and_names(tmp_path):
    images.make(tmp_path, ("b", "a"), 3)
    source = opened(tmp_path)
    assert images.names_of(source, "all") == [
        f"{folder}/{number}.png" for folder in "ab" for number in range(3)
    ]
    labels = [int(source.open_split("all").lookup(n)[1]) for n in range(6)]
    assert labels == [0, 0, 0, 1, 1, 1]


def test_digits_are_divided_as_ever():
    """Published numbers hang on it."""
    digits = opened("digits")
    held_out = digits.open_split("validation").indices
    assert len(held_out) == 359
    order = np.random.default_rng(0).permutation(1797)
    assert list(held_out) == sorted(order[:359])
    with pytest.raises(ValueError, match="skip is for folders and manifests"):
        opened("digits", SKIP)


@pytest.mark.parametrize("on_damaged", ["stop", "skip"])
def test_an_image_too_narrow_to_be_resized_is_found_before_the_run(
    tmp_path, on_damaged
):
    root = images.make(tmp_path, count=4)
    (tmp_path / "a" / "line.png").write_bytes(images.encoded(1, size=(1, 600)))
    reading = Reading(on_damaged, resize=256)
    if on_damaged == "stop":
        with pytest.raises(ValueError, match=r"'a/line.png' \(an image of 600 x 1 pix"):
            open_source(root, None, False, reading)
    else:
        source = open_source(root, None, False, reading)
        assert [unused.name for unused in source.images.damaged] == ["a/line.png"]
    # It is narrow for that side alone.
    small = open_source(root, None, False, Reading(on_damaged, resize=32))
    assert small.open_split("all").size == 9


@pytest.mark.parametrize(
    ("classes", "folder", "listed"),
    [
        (("a", "b"), "photos/runs/digits", True),
        (("a", "b"), "photos/a/run", True),
        (("a", "b"), "photos", True),
        (("a", "b"), "link/run", True),
        (("a", "b"), "photos/runs/.digits", True),  # as a class without images
        (("a", "b"), "photos/.runs/digits", False),
        (("a", "b"), "photos-runs", False),
        (("a", "b"), "runs", False),
        (("train/a", "train/b", "val/a", "val/b"), "photos/train/a/run", True),
        (("train/a", "train/b", "val/a", "val/b"), "photos/runs/digits", False),
    ],
)
def test_what_a_folder_of_images_would_be_listed_with(classes, folder, listed, here):
    images.make("photos", classes, 1)
    os.symlink("photos/a", "link")
    assert is_listed(folder, "photos") == listed
