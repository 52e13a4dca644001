"""Commands whose output cannot be written: `| head`, a disk without room."""

import errno
import io
import os
import pickle
import shlex
import subprocess
import sys

import pytest
from processes import environment
from scalenet_training.cli.output import OutputError, checked_output, written_output


def command(words, unbuffered="", **streams):
    return subprocess.Popen(
        [sys.executable, "-m", "scalenet_training", *words],
        env=environment(PYTHONUNBUFFERED=unbuffered),
        stdin=subprocess.DEVNULL,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["runs", "."]])
def test_a_reader_that_leaves_ends_the_command_in_silence(words, unbuffered):
    reading, writing = os.pipe()
    os.close(reading)
    process = command(words, stdout=writing, unbuffered=unbuffered)
    os.close(writing)
    _, err = process.communicate()
    assert (process.returncode, err) == (141, b"")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["--help"], ["train", "--help"]])
def test_a_disk_without_room_is_said(words, unbuffered):
    with open("/dev/full", "w") as full:
        process = command(words, stdout=full, unbuffered=unbuffered)
        _, err = process.communicate()
    assert process.returncode == 1
    assert err == b"error: cannot write the output: No space left on device\n"


@pytest.mark.parametrize("streams", ["2>/dev/full", "2>&-", ">/dev/full", ">&-"])
def test_the_exit_code_of_an_error_stays(streams):
    """Also where it cannot be said."""
    words = [sys.executable, "-m", "scalenet_training", "none"]
    line = f"{shlex.join(words)} {streams}"
    process = subprocess.run(["sh", "-c", line], env=environment(), capture_output=True)
    assert process.returncode == 2


def test_a_closed_stdout_is_no_error():
    words = [sys.executable, "-m", "scalenet_training", "runs", "--help"]
    line = f"{shlex.join(words)} >&-"
    process = subprocess.run(["sh", "-c", line], env=environment(), capture_output=True)
    assert (process.returncode, process.stderr) == (0, b"")


class Full(io.StringIO):
    """A stream on a disk without room."""

    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_stderr_does_not_take_does_not_end_the_work(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr", Full())
    with written_output():
        print("lost", file=sys.stderr, flush=True)
        sys.stderr.writelines(["lost\n"])
        print("done")
    assert capsys.readouterr().out == "done\n"


def test_the_error_comes_from_another_process():
    error = pickle.loads(pickle.dumps(OutputError("Broken pipe", unread=True)))
    assert (str(error), error.unread) == ("cannot write the output: Broken pipe", True)


@pytest.mark.parametrize("method", ["write", "writelines"])
def test_stdout_says_of_its_failures_that_they_are_its_own(method, monkeypatch):
    monkeypatch.setattr("sys.stdout", Full())
    with pytest.raises(OutputError, match="No space"), checked_output():
        getattr(sys.stdout, method)("a line\n")


def test_a_pipe_of_another_program_is_not_that_of_the_output():
    with pytest.raises(BrokenPipeError), written_output():
        raise BrokenPipeError(32, "of a server")
