"""What is kept of image files: true as long as size and time are the same."""

import gzip
import os

import image_folders as images
import pytest
from scalenet_training.data.files import index as module
from scalenet_training.data.files.folder import list_folder
from scalenet_training.data.files.index import Index
from situations import situation


@pytest.fixture
def opened_files(monkeypatch):
    """Names of the files whose header was read."""
    names = []
    read_header = module.read_header

    def noted(file):
        names.append(os.path.basename(os.fsdecode(file.name)))
        return read_header(file)

    monkeypatch.setattr(module, "read_header", noted)
    return names


def examined(root, path=None, bodies=False):
    index = Index.load(path)
    entries = index.examine(list_folder(root).files, bodies)
    return index, entries


@situation("folders", "a second start: some images new, changed or gone")
def test_unchanged_files_are_not_opened_again(tmp_path, opened_files, outcome):
    root, path = images.make(tmp_path / "photos"), str(tmp_path / "index.csv.gz")
    first, entries = examined(root)
    first.save(path)
    assert len(opened_files) == 12
    opened_files.clear()
    second, again = examined(root, path)
    assert (again, opened_files, second.changed) == (entries, [], False)
    images.add(tmp_path / "photos/a", ["new.png"])
    (tmp_path / "photos/a/0.png").write_bytes(images.encoded(7, "JPEG"))
    os.utime(tmp_path / "photos/a/1.png", ns=(0, 0))
    os.remove(tmp_path / "photos/b/5.png")
    third, _ = examined(root, path)
    assert sorted(opened_files) == ["0.png", "1.png", "new.png"]
    assert third.changed
    outcome(f"opened: {len(opened_files)} of 12, those new or changed")


def test_files_of_equal_size_are_told_apart_by_their_first_bytes(tmp_path):
    root, path = images.make(tmp_path / "photos"), str(tmp_path / "index.csv.gz")
    examined(root)[0].save(path)
    os.utime(tmp_path / "photos/a/0.png", ns=(0, 0))
    changed = tmp_path / "photos/b/1.png"
    changed.write_bytes(changed.read_bytes()[:-1] + b"x")
    os.utime(changed, ns=(0, 0))
    index, _ = examined(root, path)
    assert (index.touched, index.replaced) == (["a/0.png"], ["b/1.png"])


def test_an_index_without_first_bytes_can_still_be_read(tmp_path, opened_files):
    root, path = images.make(tmp_path / "photos"), tmp_path / "index.csv.gz"
    examined(root)[0].save(str(path))
    header, *rows = gzip.decompress(path.read_bytes()).splitlines()
    rows = [row.rpartition(b",")[0] for row in rows]
    path.write_bytes(gzip.compress(b"\n".join([header, *rows])))
    opened_files.clear()
    os.utime(tmp_path / "photos/a/0.png", ns=(0, 0))
    index, entries = examined(root, str(path))
    assert opened_files == ["0.png"]
    assert (index.touched, index.replaced) == (["a/0.png"], [])
    assert sorted(len(entry.head) for entry in entries) == [0] * 11 + [32]


def test_an_index_says_what_a_header_says(tmp_path):
    images.add(tmp_path / "a", ["0.jpg"], "JPEG")
    images.add(tmp_path / "b", ["0.png"])
    _, (jpeg, png) = examined(tmp_path)
    assert (jpeg.format, jpeg.width, jpeg.height) == ("JPEG", 8, 8)
    assert (png.format, png.problem, png.decoded) == ("PNG", "", False)
    _, (jpeg, _) = examined(tmp_path, bodies=True)
    assert jpeg.decoded


def test_headers_alone_do_not_stand_for_bodies(tmp_path, opened_files):
    root, path = images.make(tmp_path / "photos"), str(tmp_path / "index.csv.gz")
    examined(root)[0].save(path)
    opened_files.clear()
    second, _ = examined(root, path, bodies=True)
    assert len(opened_files) == 12
    second.save(path)
    opened_files.clear()
    for bodies in (True, False):
        assert not examined(root, path, bodies)[0].changed
    assert not opened_files


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"no index",
        lambda data: data[: len(data) // 2],
        lambda data: gzip.compress(b"scalenet_tf 0.0.0,index 1\na,b\n"),
        lambda data: gzip.compress(gzip.decompress(data) + b"a/0.png,1\n"),
        lambda data: gzip.compress(gzip.decompress(data).replace(b",8,", b",x,")),
        lambda data: gzip.compress(b'"' + gzip.decompress(data)),
    ],
)
def test_a_damaged_index_is_made_anew(damage, tmp_path, opened_files):
    root, path = images.make(tmp_path / "photos"), tmp_path / "index.csv.gz"
    first, entries = examined(root)
    first.save(str(path))
    path.write_bytes(damage(path.read_bytes()))
    opened_files.clear()
    second, again = examined(root, str(path))
    assert again == entries
    assert len(opened_files) == 12
    assert second.changed


def test_an_index_keeps_every_name(tmp_path):
    root, path = tmp_path / "photos", str(tmp_path / "index.csv.gz")
    names = [os.fsdecode(b'\xff\n".png'), "a,b.png", "図.png"]
    images.add(root / "a", names)
    images.make(root, ("b",), 1)
    (root / "b" / os.fsdecode(b"\xfe.txt")).write_bytes(b"no image")
    first, entries = examined(root)
    first.save(path)
    second, again = examined(root, path)
    assert again == entries
    assert not second.changed
    assert [entry.problem for entry in again].count(
        "not a JPEG, PNG, BMP or GIF image"
    ) == 1


def test_what_could_not_be_read_is_tried_again(tmp_path, monkeypatch, opened_files):
    root, path = images.make(tmp_path / "photos"), str(tmp_path / "index.csv.gz")
    read_header = module.read_header

    def failing(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(module, "read_header", failing)
    first, entries = examined(root)
    assert {entry.problem for entry in entries} == {"Input/output error"}
    first.save(path)
    monkeypatch.setattr(module, "read_header", read_header)
    _, entries = examined(root, path)
    assert {entry.problem for entry in entries} == {""}


def test_digests_are_kept(tmp_path, monkeypatch):
    root, path = images.make(tmp_path / "photos"), str(tmp_path / "index.csv.gz")
    files = list_folder(root).files
    index, _ = examined(root)
    digests = index.digests(files)
    assert len({*digests}) == 12
    index.save(path)
    again, _ = examined(root, path)
    monkeypatch.setattr(module, "_digest", None)
    assert again.digests(files) == digests
