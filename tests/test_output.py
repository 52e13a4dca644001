"""Commands whose output cannot be written: `| head`, a disk without room."""

import os
import subprocess
import sys

import pytest
from processes import environment
from scalenet_training.cli.output import written_output


def command(words, unbuffered="", **streams):
    return subprocess.Popen(
        [sys.executable, "-m", "scalenet_training", *words],
        env=environment(PYTHONUNBUFFERED=unbuffered),
        stdin=subprocess.DEVNULL,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["--help"], ["train", "--help"]])
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


def test_an_error_that_cannot_be_written_is_one_all_the_same():
    with open("/dev/full", "w") as full:
        process = command(["none"], stderr=full)
        process.communicate()
    assert process.returncode != 0


def test_a_pipe_of_another_program_is_not_that_of_the_output():
    with pytest.raises(BrokenPipeError), written_output():
        raise BrokenPipeError(32, "of a server")
