"""Files of a run: whole or not at all; folders that are a run's or a search's own."""

import os
import subprocess
import sys

import pytest
from scalenet_training.errors import RunError, UsageError
from scalenet_training.runs.files import (
    check_own_folder,
    remove_leftovers,
    replacing,
    write_json,
    write_rows,
    written,
)


def test_a_file_that_is_not_finished_leaves_the_one_before(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(TypeError), written(str(path)) as file:
        file.writelines(["half", 3])
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failure_to_write_names_the_file(tmp_path):
    path = str(tmp_path / "none" / "a.json")
    with pytest.raises(RunError, match=r"cannot write to '.*none/a\.json': No such"):
        write_json(path, {})
    with pytest.raises(RunError, match=r"cannot write to '.*'"), replacing(path):
        pytest.fail("it has no folder")


def test_names_keep_their_bytes(tmp_path):
    with written(str(tmp_path / "names")) as file:
        file.write(os.fsdecode(b"\xe9.png"))
    assert (tmp_path / "names").read_bytes() == b"\xe9.png"


def test_json_and_rows_are_written_as_they_always_were(tmp_path):
    write_json(str(tmp_path / "a.json"), {"a": [1, "é"]})
    assert (tmp_path / "a.json").read_text() == (
        '{\n "a": [\n  1,\n  "\\u00e9"\n ]\n}\n'
    )
    rows = [{"epoch": 0}, {"epoch": 1, "loss": 0.5}]
    write_rows(str(tmp_path / "a.csv"), rows, missing="nan")
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,loss\r\n0,nan\r\n1,0.5\r\n"


def test_a_folder_is_new_or_empty_or_ones_own(tmp_path):
    folder = tmp_path / "run"
    assert not check_own_folder(str(folder), "config.json", "run")
    folder.mkdir()
    (folder / ".writing-1").mkdir()
    assert not check_own_folder(str(folder), "config.json", "run")
    (folder / "notes.txt").touch()
    with pytest.raises(UsageError) as refused:
        check_own_folder(str(folder), "search.json", "search")
    assert str(refused.value) == (
        "`workdir` must be new, empty, or the folder of a search. Received: "
        f"{str(folder)!r}, which holds other files and no search.json."
    )
    (folder / "config.json").touch()
    assert check_own_folder(str(folder), "config.json", "run")


def test_a_column_of_another_version_is_kept(tmp_path):
    path = tmp_path / "metrics.csv"
    write_rows(str(path), [{"epoch": 0, "own": 3}, {"epoch": 1, "new": 4}], "nan")
    assert path.read_text() == "epoch,new,own\n0,nan,3\n1,4,nan\n"


WRITER = """
import pathlib, sys
from scalenet_tf.files import replaced

with replaced(sys.argv[1]) as temporary:
    pathlib.Path(temporary).write_text("whole")
    print("writing", flush=True)
    input()
"""


def writer(path):
    """A process that has begun to write a file."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], **pipes)
    assert process.stdout.readline() == "writing\n"
    return process


@pytest.mark.processes
def test_leftovers_are_of_dead_processes_alone(tmp_path):
    """Others write into the folder of a run, too, as `evaluate --report` does."""
    living, dead = writer(tmp_path / "living"), writer(tmp_path / "dead")
    dead.kill()
    dead.communicate()
    assert len(os.listdir(tmp_path)) == 2
    remove_leftovers(str(tmp_path))
    assert len(os.listdir(tmp_path)) == 1
    living.communicate("\n")
    assert living.returncode == 0
    assert os.listdir(tmp_path) == ["living"]
