"""What trackers get of a run, wherever its processes were killed."""

import contextlib
import dataclasses
import itertools
import os
import sys
import tempfile
import typing
from unittest import mock

import pytest
from fake_tracker import Server
from hypothesis import given, settings
from hypothesis import strategies as st
from records import record, row
from scalenet_training.cli.output import OutputError
from scalenet_training.errors import InterruptedRunError, RunError
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.settings.groups import TrackerName
from scalenet_training.settings.training import TrainConfig
from scalenet_training.tracking import forwarding, trackers
from scalenet_training.tracking.epochs import ForwardedEpochs
from scalenet_training.tracking.forwarding import Forwarding, tracked
from scalenet_training.tracking.interface import End
from scalenet_training.train import plan
from scalenet_training.train.loop import train_and_evaluate
from test_fine_tuning import config  # noqa: F401

FILES = {"config.json", "metrics.csv", "curves.png", "best.keras"}


class Killed(BaseException):
    """As SIGKILL: nothing is done on its way."""


class Process:
    """One process of a run: what training writes, in its order, and the tracker.

    Args:
        folder: Of the run.
        server: That has the tracker.
        writes: So many are done, then it is killed; `None`: it ends.
        marks: Numbers, none of them twice: an epoch trained again gives others.
    """

    def __init__(self, folder, server, writes, marks):
        self.folder, self.server, self.marks = RunFolder(folder), server, marks
        self.left = writes
        server.write = self.write

    def write(self):
        if self.left is not None:
            if self.left == 0:
                raise Killed
            self.left -= 1

    def train(self, epochs):
        write_json = forwarding.write_json

        def written(*arguments):
            self.write()
            write_json(*arguments)

        sending = Forwarding(self.server.kind())
        with (
            mock.patch.object(forwarding, "write_json", written),
            sending.of(self.folder),
        ):
            self._train(ForwardedEpochs(sending), epochs)

    def _train(self, hook, epochs):
        done = self._saved()
        if done == epochs:
            return
        self.write()
        self.folder.write_record(record(TrainConfig(epochs=epochs)))
        hook.on_train_begin()
        for epoch in range(done, epochs):
            hook.on_epoch_begin(epoch)
            self.write()
            self.folder.write_row({**row(epoch, 0.5), "loss": next(self.marks)})
            self.write()
            with open(self.folder.file("checkpoint"), "w") as file:
                file.write(str(epoch + 1))
            hook.on_epoch_end(epoch)
        hook.on_train_end()

    def _saved(self):
        if not os.path.exists(self.folder.file("checkpoint")):
            return 0
        with open(self.folder.file("checkpoint")) as file:
            return int(file.read())


def numbers_of(folder):
    """(epoch, name) -> value of metrics.csv."""
    return {
        (line["epoch"], name): value
        for line in RunFolder(folder).rows()
        for name, value in line.items()
        if name != "epoch"
    }


def check(server, folder, epochs):
    numbers = server.numbers()
    assert numbers == numbers_of(folder)
    assert {epoch for epoch, _ in numbers} == set(range(epochs))
    assert server.run["status"] is End.FINISHED
    assert server.run["files"].keys() == {"config.json", "metrics.csv"}
    assert server.run["settings"]["batch_size"] == 32
    for name, content in server.run["files"].items():
        with open(os.path.join(folder, name), "rb") as file:
            assert content == file.read(), name


def train(folder, server, epochs, kills=()):
    marks = itertools.count()
    for writes in kills:
        with contextlib.suppress(Killed):
            Process(folder, server, writes, marks).train(epochs)
    Process(folder, server, None, marks).train(epochs)


@settings(deadline=None, max_examples=60)
@given(kills=st.lists(st.integers(0, 45), max_size=5))
def test_wherever_it_is_killed_every_point_is_there_once(kills):
    with tempfile.TemporaryDirectory() as folder:
        server = Server()
        train(folder, server, 3, kills)
        check(server, folder, 3)


def test_a_kill_before_each_write_of_a_run():
    """Each moment of two processes of two epochs, one after the other."""
    for writes in range(60):
        with tempfile.TemporaryDirectory() as folder:
            server = Server()
            train(folder, server, 2, [writes, 9])
            check(server, folder, 2)


def test_a_run_that_goes_on_longer_goes_on_in_the_tracker(tmp_path):
    server = Server()
    train(tmp_path, server, 2)
    train(tmp_path, server, 3)
    check(server, tmp_path, 3)
    assert server.run["settings"]["epochs"] == 2


def test_what_has_ended_and_is_there_is_not_sent_again(tmp_path):
    server = Server()
    train(tmp_path, server, 2)
    Process(tmp_path, server, 0, itertools.count()).train(2)  # 0 writes are allowed


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InterruptedRunError("stopped", 15), End.INTERRUPTED),
        (OutputError("Broken pipe", unread=True), End.INTERRUPTED),
        (RunError("diverged"), End.FAILED),
    ],
)
def test_the_tracker_knows_how_a_run_ended(tmp_path, error, status):
    server = Server()
    folder = RunFolder(tmp_path)
    folder.write_record(record())
    sending = Forwarding(server.kind())
    folder.write_row(row(0, 0.5))

    def fail():
        with sending.of(folder):
            sending.send_until(1)
            raise error

    with pytest.raises(type(error)):
        fail()
    assert server.run["status"] is status
    (tmp_path / "checkpoint").write_text("1")
    train(tmp_path, server, 2)
    check(server, tmp_path, 2)


def test_epochs_that_are_trained_again_keep_their_first_points(tmp_path):
    """As where the newest checkpoints are damaged."""
    server = Server()
    train(tmp_path, server, 3)
    before = numbers_of(tmp_path)
    (tmp_path / "checkpoint").write_text("1")
    Process(tmp_path, server, None, itertools.count(10)).train(4)
    now = numbers_of(tmp_path)
    assert (before[1, "loss"], now[1, "loss"]) == (1, 10)
    assert server.numbers() == now | before


ALL = "what it lacks of {run}"
REST = "the epochs of {run} from {first} on, and its files"


@pytest.mark.parametrize(
    ("works", "unsent", "first"),
    [(0, ALL, 0), (1, ALL, 0), (2, REST, 1), (13, REST, 2)],
)
def test_a_tracker_that_fails_is_one_warning(tmp_path, capsys, works, unsent, first):
    left = iter(range(works))

    def fail():
        if next(left, None) is None:
            raise ConnectionError("no answer of http://me:secret@host:1\nand more")

    server = Server()
    process = Process(tmp_path, server, None, itertools.count())
    server.write = fail
    process.train(3)
    what = unsent.format(run=f"the run in {str(tmp_path)!r}", first=first)
    assert capsys.readouterr().err == (
        "warning: Fake fails (ConnectionError: no answer of http://host:1). Not sent: "
        f"{what}. The run itself is not affected. The same command sends it: when the "
        "run goes on, or once it has ended.\n"
    )
    train(tmp_path, server, 3)
    check(server, tmp_path, 3)


@pytest.mark.parametrize("text", ["{}", "[]", '{"run": "../a"}', "{", '{"run": 3}'])
def test_a_damaged_identity_is_a_warning(tmp_path, capsys, text):
    (tmp_path / "tracking.json").write_text(text)
    server = Server()
    train(tmp_path, server, 2)
    assert server.runs == {}
    err = capsys.readouterr().err
    assert err.startswith("warning: Fake fails (ValueError: ")
    assert err.count("\n") == 1
    os.remove(tmp_path / "tracking.json")
    train(tmp_path, server, 2)
    check(server, tmp_path, 2)


def test_a_run_is_known_by_its_folder_and_an_identity_that_stays(tmp_path):
    first = tracked(RunFolder(tmp_path))
    assert first == tracked(RunFolder(tmp_path))
    assert first.name == tmp_path.name
    assert (len(first.identity), first.identity.isalnum()) == (32, True)


def test_the_table_has_the_names_of_the_option():
    assert typing.get_args(TrackerName) == ("none", *trackers.TRACKERS)


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("mlflow", "mlflow-skinny", "mlflow"), ("wandb", "wandb", "wandb")],
)
def test_a_missing_package_is_named_before_anything_is_written(
    here, monkeypatch, run_verb, name, package, extra
):
    # Where it is installed, another test may have imported parts of it.
    for module in [one for one in sys.modules if one.startswith(f"{name}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    os.mkdir(name)  # as that of results, which Python takes for a package
    code, _, err = run_verb("train", f"--track {name} --workdir run")
    assert code == 2
    assert err == (
        f"error: --track {name} needs the package {package}: pip install "
        f"'scalenet_tf[{extra}]'.\n"
    )
    assert os.listdir(here) == [name]


@pytest.fixture
def server(monkeypatch):
    """A server that `--track mlflow` leads to."""
    server = Server()
    monkeypatch.setitem(trackers.TRACKERS, "mlflow", server.kind())
    return server


@pytest.mark.runs
def test_a_training_that_is_killed_goes_on_in_the_same_run(
    config,  # noqa: F811
    tmp_path,
    monkeypatch,
    server,
):
    def killed(*_):
        raise Killed

    folder = tmp_path / "run"
    config = dataclasses.replace(config, track="mlflow")
    with monkeypatch.context() as patch:
        patch.setattr(ForwardedEpochs, "on_epoch_end", killed)
        with pytest.raises(Killed):
            train_and_evaluate(config, str(folder))
    assert server.run["points"] == []
    train_and_evaluate(config, str(folder))
    assert server.numbers() == numbers_of(folder)
    assert server.run["files"].keys() == FILES
    assert server.run["files"]["best.keras"] == (folder / "best.keras").read_bytes()
    assert server.run["status"] is End.FINISHED
    assert server.run["name"] == "run"
    told = server.run["settings"]
    assert (told["learning_rate"], told["architecture"]) == (0.02, "Micro")
    assert told["training_examples"] == 32
    assert "version_keras" in told


@pytest.mark.runs
def test_a_run_that_was_not_tracked_is_sent_by_the_same_command(
    config,  # noqa: F811
    tmp_path,
    server,
):
    folder = tmp_path / "run"
    train_and_evaluate(config, str(folder))
    assert server.runs == {}
    config = dataclasses.replace(config, track="mlflow")
    train_and_evaluate(config, str(folder))
    assert server.numbers() == numbers_of(folder)
    assert server.run["status"] is End.FINISHED


def test_other_workers_than_the_chief_tell_nothing(
    config,  # noqa: F811
    monkeypatch,
    server,
):
    opened = plan.distribution.open_placement

    def second(*arguments):
        return dataclasses.replace(opened(*arguments), worker=1, workers=2)

    config = dataclasses.replace(config, track="mlflow")
    assert plan.prepare(config).tracking._kind is not None
    monkeypatch.setattr(plan.distribution, "open_placement", second)
    assert plan.prepare(config).tracking._kind is None
