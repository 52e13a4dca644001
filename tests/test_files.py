import os
import pathlib

import pytest

from scalenet_tf.files import made_folder, replaced, whole


def write_half(path):
    with replaced(str(path)) as temporary:
        pathlib.Path(temporary).write_text("half")
        raise RuntimeError


def make_and_fail(path):
    with made_folder(str(path)):
        assert path.is_dir()
        raise RuntimeError


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError):
        write_half(path)
    assert path.read_text() == "old"
    with replaced(str(path)) as temporary:
        pathlib.Path(temporary).write_text("new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_does_not_replace_one_with_content(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "kept").touch()
    with pytest.raises(OSError, match="1"), replaced(str(tmp_path / "1")) as temporary:
        os.mkdir(temporary)
    assert os.listdir(tmp_path) == ["1"]
    assert os.listdir(tmp_path / "1") == ["kept"]


def write_folder(path):
    with replaced(str(path), with_content=True) as temporary:
        os.mkdir(temporary)
        (pathlib.Path(temporary) / "new").touch()


@pytest.fixture
def with_old(tmp_path):
    """A folder with something in it."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "old").touch()
    return tmp_path / "1"


def test_a_folder_and_the_one_that_replaces_it_change_places_in_one_step(
    with_old, monkeypatch
):
    monkeypatch.setattr(os, "rename", None)  # of which two would be needed
    write_folder(with_old)
    assert os.listdir(with_old.parent) == ["1"]
    assert os.listdir(with_old) == ["new"]


def test_a_step_that_fails_leaves_the_folder_before(with_old):
    with pytest.raises(OSError, match="No such file") as failed:
        whole._exchanged(str(with_old), str(with_old.parent / "none"))
    assert failed.value.filename2 == str(with_old.parent / "none")
    assert os.listdir(with_old) == ["old"]


def test_where_folders_cannot_change_places_the_old_one_is_put_back(
    with_old, monkeypatch
):
    rename, calls = os.rename, []

    def fails_once(source, target):
        calls.append(target)
        if len(calls) == 2:  # the old one has been moved away
            raise OSError("no")
        rename(source, target)

    # A flag that no file system knows: EINVAL, as of one that cannot.
    monkeypatch.setattr(whole, "_EXCHANGE", 1 << 20)
    monkeypatch.setattr(os, "rename", fails_once)
    with pytest.raises(OSError, match="no"):
        write_folder(with_old)
    assert os.listdir(with_old.parent) == ["1"]
    assert os.listdir(with_old) == ["old"]
    write_folder(with_old)
    assert os.listdir(with_old.parent) == ["1"]
    assert os.listdir(with_old) == ["new"]
    assert len(calls) == 5


def test_folders_that_were_made_go_where_the_block_fails(tmp_path):
    with pytest.raises(RuntimeError):
        make_and_fail(tmp_path / "a" / "b")
    assert not os.listdir(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(RuntimeError):
        make_and_fail(tmp_path / "a" / "b" / "c")
    assert os.listdir(tmp_path) == ["a"]
    with made_folder(str(tmp_path / "a" / "b")):
        pass
    assert (tmp_path / "a" / "b").is_dir()
