"""Signs of life of commands that have nothing to say for a while."""

import io
import sys
import time

import pytest
from scalenet_training.cli.patience import signs_of_life, waiting


class Terminal(io.StringIO):
    def isatty(self):
        return True


def lines(capfd):
    return capfd.readouterr().err.splitlines()


def test_silence_is_broken_and_speech_is_not(capfd):
    with signs_of_life(seconds=0.2):
        time.sleep(0.4)
        assert lines(capfd) == ["still at work after 0 s"]
        for _ in range(5):
            print("a word")
            time.sleep(0.1)
    assert lines(capfd) == []


def test_a_log_gets_signs_at_growing_distances(capfd):
    with signs_of_life(seconds=0.2, later=0.4):
        time.sleep(1.25)  # after 0.2, 0.6 and 1.0 s
        assert len(lines(capfd)) == 3
        print("a word")
        time.sleep(0.3)
    assert len(lines(capfd)) == 1


def test_a_terminal_gets_signs_at_equal_distances(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with signs_of_life(seconds=0.2):
        time.sleep(0.7)
    assert len(terminal.getvalue().splitlines()) == 3


def test_streams_are_as_before(capfd):
    before = sys.stdout, sys.stderr
    with signs_of_life(seconds=0.1):
        assert sys.stdout.encoding == before[0].encoding
        assert sys.stderr.fileno() == before[1].fileno()
    assert (sys.stdout, sys.stderr) == before
    with pytest.raises(SystemExit), signs_of_life(seconds=0.1):
        sys.exit(3)
    assert (sys.stdout, sys.stderr) == before
    time.sleep(0.3)
    assert lines(capfd) == []


def test_who_waits_for_input_is_told_nothing(capfd):
    with signs_of_life(seconds=0.1):
        with waiting():
            time.sleep(0.3)
        assert lines(capfd) == []
        time.sleep(0.18)
        assert lines(capfd) == ["still at work after 0 s"]


def test_a_line_that_has_not_ended_is_let_alone_in_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with signs_of_life(seconds=0.1):
        sys.stderr.write("50%|####")
        time.sleep(0.3)
        assert terminal.getvalue() == "50%|####"
        sys.stderr.write("\n")
        time.sleep(0.15)
        assert terminal.getvalue() == "50%|####\nstill at work after 0 s\n"


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_that_is_closed_is_let_alone(name, monkeypatch):
    monkeypatch.setattr(f"sys.{name}", None)
    with signs_of_life(seconds=0.1):
        assert getattr(sys, name) is None
        time.sleep(0.15)


def test_a_disk_without_room_does_not_end_the_work(monkeypatch, recwarn):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stderr", full)
        with signs_of_life(seconds=0.1):
            time.sleep(0.25)
    assert not recwarn.list  # of an exception in a thread


def test_a_notebook_has_no_descriptor(monkeypatch):
    stderr = io.StringIO()
    monkeypatch.setattr("sys.stderr", stderr)
    with signs_of_life(seconds=0.1):
        time.sleep(0.15)
    assert stderr.getvalue() == "still at work after 0 s\n"
