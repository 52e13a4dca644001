"""Manifests: tables of image files with labels, as people write them."""

import os

import image_folders as images
import pytest
from scalenet_training.data.files.listing import Reading
from scalenet_training.data.sources import open_source
from scalenet_training.settings.training import TrainConfig
from situations import situation


@pytest.fixture
def photos(tmp_path):
    """A folder with the images 0.png to 9.png; a manifest may lie beside them."""
    images.add(tmp_path, [f"{number}.png" for number in range(10)])
    return tmp_path


def table(labels, split=None):
    """Text of a manifest: a line for each label, 0.png and so on."""
    lines = ["path,label" + (",split" if split else "")]
    lines += [
        f"{number}.png,{label}" + (f",{split[number]}" if split else "")
        for number, label in enumerate(labels)
    ]
    return "\n".join(lines) + "\n"


def opened(folder, text, name="photos.csv", reading=None):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return open_source(str(path), None, False, *([reading] if reading else []))


def labelled(source):
    """(name, class) of every example."""
    split = source.open_split("+".join(n for n in source.split_names if n != "all"))
    return {
        (
            source.images.files[number].name,
            source.class_names[int(split.lookup(number)[1])],
        )
        for number in split.indices
    }


USED = [
    ("path and label, no split", table("abababab"), {}),
    ("path, label and split", table("abab", ["train", "Training", "VAL", "dev"]), {}),
    ("a byte order mark", "\ufeff" + table("abab"), {}),
    ("lines that end with \\r\\n, an empty line", table("ab").replace("\n", "\r\n") * 1
     + "\r\n", {}),
    ("names with commas and quotes", 'path,label\n"a,""b"".png",x\n1.png,y\n', {}),
    ("other columns, in another order, capitals",
     "Label,width,Path\na,8,0.png\nb,8,1.png\n", {}),
    ("spaces after the commas", "path, label\n0.png, a\n1.png, b\n", {}),
    ("TSV", "path\tlabel\n0.png\ta b\n1.png\tc\n", {"name": "photos.TSV"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "options"),
    [
        pytest.param(text, options, id=name, marks=situation("manifests", name))
        for name, text, options in USED
    ],
)
def test_manifests_that_are_used(text, options, photos, outcome):
    images.add(photos, ['a,"b".png'])
    source = opened(photos, text, **options)
    found = labelled(source)
    rows = [line for line in text.splitlines()[1:] if line]
    assert len(found) == len(rows)
    for name, label in found:
        line = next(r for r in rows if name.replace('"', '""') in r)
        assert label in line.replace(name, "")
    classes = f"classes {', '.join(source.class_names)}"
    outcome(f"used: {classes}; {images.sizes_of(source)}")


@situation("manifests", "paths in other folders, absolute paths")
def test_paths_are_relative_to_the_manifest_or_absolute(photos, outcome):
    images.add(photos / "other", ["x.png", "y.png"])
    manifest = photos / "lists"
    manifest.mkdir()
    text = f"path,label\n../0.png,a\n{photos}/other/x.png,b\n{manifest}/z.png,c\n"
    images.add(manifest, ["z.png"])
    names = {name for name, _ in labelled(opened(manifest, text))}
    assert names == {"../0.png", f"{photos}/other/x.png", "z.png"}
    outcome("used")


def test_the_division_stays_where_all_data_are_moved(tmp_path):
    images.make(tmp_path / "before" / "images", ("a", "b"), 30)
    rows = [f"../images/{c}/{n}.png,{c}" for c in "ab" for n in range(30)]
    (tmp_path / "before" / "lists").mkdir()
    table = tmp_path / "before" / "lists" / "all.csv"
    table.write_text("\n".join(["path,label", *rows]))
    held_out = []
    for place in ("before", "after"):
        source = open_source(str(tmp_path / place / "lists/all.csv"), None, False)
        held_out.append(images.names_of(source, "validation"))
        if place == "before":
            os.rename(tmp_path / "before", tmp_path / "after")
    assert held_out[0] == held_out[1]


@situation("manifests", "labels that are whole numbers")
def test_numbers_are_sorted_as_numbers(photos, outcome):
    source = opened(photos, table([0, 1, 2, 10, 9, 3]))
    assert source.class_names == ("0", "1", "2", "3", "9", "10")
    outcome(f"classes {', '.join(source.class_names)}: sorted as numbers")


def test_numbers_among_words_are_sorted_as_words(photos):
    assert opened(photos, table([10, 9, "x"])).class_names == ("10", "9", "x")
    assert opened(photos, table(["01", "1", "2"])).class_names == ("01", "1", "2")


@situation("manifests", "rows in another order")
def test_the_order_of_rows_does_not_matter(photos, outcome):
    lines = table("ababababab").splitlines()
    one = opened(photos, "\n".join(lines))
    other = opened(photos, "\n".join([lines[0], *reversed(lines[1:])]))
    for split in ("train", "validation"):
        assert images.names_of(one, split) == images.names_of(other, split)
    outcome("the same examples, in the same order")


REFUSED = [
    ("no column label", "path,class\n0.png,a\n", r"line 1: must be a header with"),
    ("columns separated by semicolons", "path;label\n0.png;a\n",
     r"line 1: .*separated by commas. Received: \['path;label'\]"),
    ("no header", "0.png,a\n1.png,b\n", "line 1: must be a header"),
    ("an empty file", "", "line 1: must be a header"),
    ("a column twice", "path,label,label\n", r"line 1: has the column 'label' 2 times"),
    ("an empty label", table(["a", " ", "b"]), "line 3: has no label"),
    ("an empty path", "path,label\n0.png,a\n,b\n", "line 3: has no path"),
    ("a path with a NUL", "path,label\n0.png,a\n1\0.png,b\n",
     "line 3: has a path with a NUL"),
    ("a path twice", "path,label\n0.png,a\n1.png,b\n./0.png,b\n",
     "line 4: names .*0.png' again, after line 2"),
    ("an unknown split", table("ab", ["train", "holdout"]),
     "line 3: has the split 'holdout'; allowed are train, training, val, "),
    ("a row too long", "path,label\n0.png,a\n1.png,b,c\n",
     "line 3: has 3 columns, the header 2"),
    ("not UTF-8", "path,label\n0.png,a\n1.png,caf\u00e9\n".encode("latin-1"),
     "line 3: is not UTF-8: save the table as UTF-8"),
    ("a quote that is never closed", 'path,label\n0.png,"a\n1.png,b\n', "line 2: "),
    ("one class", table("aaa"), "at least 2 labels. Received: a"),
    ("files that are missing", table("ab") + "x/y.png,a\nz.png,b\n",
     r"2 of 4 files .*'x/y.png' \(line 4: no such file or directory\)"),
    ("a folder for a file", table("ab") + "folder,a\n", "'folder' .line 4: not a file"),
    ("a class of the validation split alone",
     table("abc", ["train", "train", "val"]),
     "1 of 3 classes of .* have no training images: 'c'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "match"),
    [
        pytest.param(text, match, id=name, marks=situation("manifests", name))
        for name, text, match in REFUSED
    ],
)
def test_manifests_that_are_refused(text, match, photos, outcome):
    (photos / "folder").mkdir()
    with pytest.raises(ValueError, match=match) as caught:
        opened(photos, text)
    message = str(caught.value).replace(f"{photos}/", "")
    message = message.removeprefix("`dataset` ").removeprefix("`dataset`: ")
    message = message.removeprefix("'photos.csv', ").split(". Replace")[0]
    outcome(f"refused: {message}")


@situation("manifests", "files that are missing, --on-damaged skip")
def test_missing_files_can_be_left_out(photos, outcome):
    text = table("abab") + "gone.png,b\n"
    source = opened(photos, text, reading=Reading(on_damaged="skip"))
    assert source.images.damaged == [("gone.png", "line 6: no such file or directory")]
    assert len(labelled(source)) == 4
    outcome(f"left out, with the reason: {source.images.damaged[0].reason}")


@situation("manifests", "a manifest that is not there")
def test_a_manifest_that_is_not_there(tmp_path, outcome):
    with pytest.raises(ValueError, match=r"there is no file '.*none.csv'") as caught:
        open_source(str(tmp_path / "none.csv"), None, False)
    outcome(f"refused: {caught.value}".replace(f"{tmp_path}/", ""))


def test_without_splits_it_is_divided_as_a_folder_of_the_same_files(tmp_path):
    root = images.make(tmp_path / "photos", count=20)
    files = [f"{folder}/{number}.png" for folder in "ab" for number in range(20)]
    text = "path,label\n" + "".join(f"{name},{name[0]}\n" for name in files)
    manifest, folder = opened(tmp_path / "photos", text), open_source(root, None, False)
    for split in ("train", "validation", "all"):
        assert images.names_of(manifest, split) == images.names_of(folder, split)


def test_the_run_folder_has_the_name_of_the_manifest():
    config = TrainConfig(dataset="data/birds.v2.csv", model="ScaleNetCifar38")
    assert config.run_folder == os.path.join("runs", "birds.v2-ScaleNetCifar38")
    config = TrainConfig(dataset="data/birds.v2", model="ScaleNetCifar38")
    assert config.run_folder == os.path.join("runs", "birds.v2-ScaleNetCifar38")
