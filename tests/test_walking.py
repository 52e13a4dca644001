"""Folders are walked through alike by all commands."""

import os

import image_folders as images
import pytest
from scalenet_training.data.files.walking import walk
from scalenet_training.data.sources import open_source
from scalenet_training.errors import RunError
from scalenet_training.export.sample_images import folder_images
from scalenet_training.predict.images import image_files


@pytest.fixture
def linked(tmp_path):
    """A folder of two classes, one of which is a link, and what systems leave there."""
    images.make(tmp_path / "elsewhere", ["b"], 3)
    images.make(tmp_path / "root", ["a"], 2)
    root = tmp_path / "root"
    (root / "b").symlink_to(tmp_path / "elsewhere" / "b")
    (tmp_path / "elsewhere" / "b" / "loop").symlink_to(root)
    for name in ("Thumbs.db", ".hidden.png", "desktop.ini"):
        (root / "a" / name).write_bytes(b"no image")
    images.add(root / "a" / "@eaDir", ["0.png"])
    return str(root)


def test_links_are_followed_and_files_of_systems_are_not_seen(linked):
    found = sorted(os.path.relpath(path, linked) for path in walk(linked))
    assert found == ["a/0.png", "a/1.png", "b/0.png", "b/1.png", "b/2.png"]


def test_every_command_sees_the_same_files(linked):
    predicted = image_files([linked])
    assert [file.folder for file in predicted] == ["a", "a", "b", "b", "b"]
    assert len(folder_images(linked, 10, "`images`")) == 5
    with pytest.raises(ValueError, match="a link to a folder that it lies in"):
        open_source(linked, None, False)
    os.remove(os.path.join(linked, "b", "loop"))
    assert open_source(linked, None, False).open_split("all").size == 5


def test_no_command_waits_for_a_pipe(linked):
    os.mkfifo(os.path.join(linked, "a", "pipe.png"))
    (pipe,) = [file for file in image_files([linked]) if "pipe" in file.path]
    with pytest.raises(RunError, match=r"cannot read .*: neither a file nor a folder"):
        pipe.read()
    with pytest.raises(OSError, match="neither a file nor a folder"):
        folder_images(linked, 10, "`images`")
