"""One run, one writer: locks on folders."""

import contextlib
import fcntl
import os
import subprocess
import sys

import pytest
from scalenet_training.errors import UsageError
from scalenet_training.runs import locking
from scalenet_training.runs.locking import FolderInUseError, is_locked, locked_folder

ROW = "one run, one writer"
IN_USE = r"`workdir`: another process is writing to '.*'\. Wait for its end, or give"


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_has_one_writer_and_then_the_next(tmp_path):
    folder = str(tmp_path / "new")
    with locked_folder(folder, "`workdir`") as lock:
        assert lock.certain
        with (
            pytest.raises(UsageError, match=IN_USE),
            locked_folder(folder, "`workdir`"),
        ):
            pass
        (tmp_path / "new" / "file").touch()
    with locked_folder(folder, "`workdir`") as lock:
        assert lock.certain
    assert entries(tmp_path / "new") == ["file"]


def test_a_folder_that_was_made_goes_where_the_checks_fail(tmp_path):
    with (
        pytest.raises(ValueError, match="unfit"),
        locked_folder(str(tmp_path / "a" / "b"), "`workdir`"),
    ):
        raise ValueError("unfit")
    assert not entries(tmp_path)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UsageError, match=r"`workdir` must be a folder\. Received: '.*f"),
        locked_folder(str(tmp_path / "file"), "`workdir`"),
    ):
        pass


@pytest.mark.parametrize("code", ["ENOLCK", "ENOTSUP", "EBADF"])
def test_a_file_system_without_locks_is_used_without(tmp_path, monkeypatch, code):
    import errno

    def flock(descriptor, operation):
        raise OSError(getattr(errno, code), "no locks here")

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked_folder(str(tmp_path), "`workdir`") as lock:
        assert not lock.certain


def test_a_lock_on_a_folder_that_was_removed_is_none(tmp_path, monkeypatch):
    """As where the process that made it has failed its checks meanwhile."""
    folder, flock = tmp_path / "run", fcntl.flock

    def removed(descriptor, operation):
        flock(descriptor, operation)
        folder.rmdir()
        folder.mkdir()

    monkeypatch.setattr(fcntl, "flock", removed)
    with (
        pytest.raises(UsageError, match=IN_USE),
        locked_folder(str(folder), "`workdir`"),
    ):
        pass


def test_one_who_is_refused_does_not_remove_what_another_has_locked(
    tmp_path, monkeypatch
):
    """It made the folder; another locked it before it did, and has written nothing."""
    folder, opened = str(tmp_path / "run"), os.open
    others = contextlib.ExitStack()

    def overtaken(path, flags, *args):
        if path == folder:
            monkeypatch.setattr(locking.os, "open", opened)
            others.enter_context(locked_folder(folder, "`workdir`"))
        return opened(path, flags, *args)

    monkeypatch.setattr(locking.os, "open", overtaken)
    with pytest.raises(UsageError, match=IN_USE), locked_folder(folder, "`workdir`"):
        pass
    with others:
        assert is_locked(folder)
        with (
            pytest.raises(UsageError, match=IN_USE),
            locked_folder(folder, "`workdir`"),
        ):
            pass


def test_a_folder_that_was_made_goes_before_its_lock(tmp_path, monkeypatch):
    """Else another locks it in between, and then it goes."""
    folder, rmdir, locked = str(tmp_path / "run"), os.rmdir, []

    def seen(path):
        locked.append(is_locked(path))
        rmdir(path)

    monkeypatch.setattr(os, "rmdir", seen)
    with pytest.raises(ValueError, match="unfit"), locked_folder(folder, "`workdir`"):
        raise ValueError("unfit")
    assert locked == [True]
    assert not entries(tmp_path)


def test_one_whose_folder_went_before_it_was_opened_is_refused(tmp_path, monkeypatch):
    folder, opened = tmp_path / "run", os.open

    def removed(path, flags, *args):
        if path == str(folder) and folder.exists():
            folder.rmdir()
        return opened(path, flags, *args)

    monkeypatch.setattr(locking.os, "open", removed)
    with (
        pytest.raises(UsageError, match=IN_USE),
        locked_folder(str(folder), "`workdir`"),
    ):
        pass


def made_anew(folder):
    """Its name is now that of another folder."""
    folder.rmdir()
    folder.mkdir()


def check_late(folder):
    with locked_folder(str(folder), "`workdir`") as lock:
        lock.check()
        made_anew(folder)
        lock.check()


def test_a_holder_learns_that_its_folder_was_removed(tmp_path):
    """And leaves alone a new one of this name, which is another's."""
    folder = tmp_path / "run"
    gone = r"`workdir`: '.*run' was removed while this command prepared to write to it"
    with pytest.raises(FolderInUseError, match=gone):
        check_late(folder)
    assert folder.is_dir()


HOLDER = """
import sys
from scalenet_training.runs.locking import locked_folder
with locked_folder(sys.argv[1], "`workdir`"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.processes
def test_the_lock_ends_with_the_process(tmp_path):
    folder = str(tmp_path / "run")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    with pytest.raises(UsageError, match=IN_USE), locked_folder(folder, "`workdir`"):
        pass
    process.kill()
    process.wait()
    with locked_folder(folder, "`workdir`") as lock:
        assert lock.certain
