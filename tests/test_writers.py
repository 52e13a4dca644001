"""One run, one writer: commands on a folder that another process writes to."""

import json
import os
import shutil
import signal

import pytest
from conftest import TINY_CIFAR
from processes import TRAINING, finish, fork
from records import record
from scalenet_training.allocate.config import AllocateConfig
from scalenet_training.allocate.learning import learn_allocation
from scalenet_training.cli.options import with_flags
from scalenet_training.errors import UsageError
from scalenet_training.export.config import ExportConfig
from scalenet_training.export.versions import new_version
from scalenet_training.runs.locking import locked_folder
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.loop import train_and_evaluate
from scalenet_training.tune.config import TuneConfig
from situations import situation

AREA = "one run, one writer"
IN_USE = "another process is writing to"


def listing(folder):
    return sorted(str(path) for path in folder.rglob("*"))


def train(folder, **changes):
    return train_and_evaluate(TrainConfig(**changes), str(folder))


def not_let_in(*arguments):
    pytest.fail("it was let in")


def tune(folder):
    from scalenet_training.tune.tuning import tune

    return tune(TuneConfig(workdir=str(folder), eval_split="validation[:9]"))


# Where nothing keeps them out, the first two end for want of such a model.
WRITERS = {
    "train": (lambda folder: train(folder, model="none"), "--workdir"),
    "allocate, which trains": (
        lambda folder: learn_allocation(
            AllocateConfig(train=TrainConfig(workdir=str(folder), model="none"))
        ),
        "--workdir",
    ),
    "tune": (tune, "--workdir"),
    "tune, as the chief of several processes": (tune, "--workdir"),
    "export": (lambda folder: new_version(str(folder)).__enter__(), "--name"),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=situation(AREA, f"{n}: the folder is in use"))
        for n in WRITERS
    ],
)
def test_a_second_writer_is_refused_before_it_writes(
    name, tmp_path, monkeypatch, outcome
):
    command, option = WRITERS[name]
    if "tune" in name:
        pytest.importorskip("keras_tuner")
        monkeypatch.setattr("scalenet_training.tune.search.Search.run", not_let_in)
    if "chief" in name:
        monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
        monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
        monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "1")
    folder = tmp_path / "run"
    with (
        locked_folder(str(folder), "`workdir`"),
        pytest.raises(UsageError) as refused,
    ):
        command(folder)
    words = with_flags(str(refused.value), TrainConfig, ExportConfig)
    assert f"{option}: {IN_USE} '{folder}'" in words
    assert not listing(folder)
    outcome(f"refused, exit code 2, naming {option}; nothing is written")


@situation(AREA, "allocate --seed-run: folder in use")
def test_an_allocation_into_a_run_that_is_trained_is_refused(tmp_path, outcome):
    RunFolder(tmp_path).write_record(record())
    config = AllocateConfig(train=TrainConfig(), seed_run=str(tmp_path))
    with (
        locked_folder(str(tmp_path), "`workdir`"),
        pytest.raises(UsageError, match=f"`seed_run`: {IN_USE}"),
    ):
        learn_allocation(config)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    outcome("refused, exit code 2, naming --seed-run; nothing is written")


def removed(folder):
    """Its name is soon that of another's folder."""
    shutil.rmtree(folder)
    os.mkdir(folder)


GONE = "was removed while this command prepared to write to it"


def test_a_search_whose_folder_is_removed_during_the_checks_ends(tmp_path, monkeypatch):
    pytest.importorskip("keras_tuner")
    folder = tmp_path / "found"
    monkeypatch.setattr("scalenet_training.tune.search.Search.run", not_let_in)
    monkeypatch.setattr(
        "scalenet_training.tune.folder.SearchFolder.ended_trials",
        lambda *arguments: removed(folder),
    )
    with pytest.raises(UsageError, match=f"`workdir`: '{folder}' {GONE}"):
        tune(folder)
    assert not listing(folder)


def test_an_allocation_whose_folder_is_removed_while_it_is_found_ends(
    tmp_path, monkeypatch
):
    from scalenet_training.allocate import learning

    folder = tmp_path / "run"
    RunFolder(folder).write_record(record())
    monkeypatch.setattr(learning, "read_seed", removed)
    monkeypatch.setattr(learning, "allocate", lambda config, seed: None)
    config = AllocateConfig(train=TrainConfig(), seed_run=str(folder))
    with pytest.raises(UsageError, match=f"`seed_run`: '{folder}' {GONE}"):
        learn_allocation(config)
    assert not listing(folder)


@situation(AREA, "train: settings that cannot be run, in a new folder")
def test_a_new_folder_goes_where_the_settings_cannot_be_run(tmp_path, outcome):
    with pytest.raises(UsageError, match="`train_split`: no split 'none'"):
        train(tmp_path / "a" / "run", train_split="none")
    assert not listing(tmp_path)
    outcome("refused, exit code 2; the folder that was made to be locked is removed")


@situation(AREA, "train: a worker that is not the chief")
def test_a_worker_shares_the_folder_with_its_chief(tmp_path, monkeypatch, outcome):
    cluster = {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}
    task = {"type": "worker", "index": 1}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    folder = tmp_path / "run"
    with (
        locked_folder(str(folder), "`workdir`"),
        pytest.raises(UsageError, match="`model` must be one of Sc"),
    ):
        train(folder, model="none")
    outcome("let in: the chief of the same run has the lock")


def command(folder, *options):
    """Minutes of training, unless it is killed."""
    return [
        os.path.join(TRAINING, "train.py"),
        *("--model", os.path.join(os.path.dirname(folder), "tiny.json")),
        *("--workdir", folder, "--train-split", "train[:256]"),
        *("--eval-split", "validation[:50]", "--batch-size", "16", *options),
    ]


@pytest.mark.processes
@situation(AREA, "train: two processes, then kill -9")
def test_two_trainings_on_one_folder(tmp_path, outcome):
    (tmp_path / "tiny.json").write_text(json.dumps(TINY_CIFAR.to_record()))
    folder = str(tmp_path / "run")
    first = fork(command(folder, "--epochs", "500"))
    try:
        for line in first.stdout:
            if line.startswith("Epoch 2"):
                break
        before = (tmp_path / "run" / "config.json").read_bytes()
        output = finish(fork(command(folder, "--seed", "1")), code=2)
        assert f"error: --workdir: {IN_USE} '{folder}'" in output
        assert first.poll() is None
        assert (tmp_path / "run" / "config.json").read_bytes() == before
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    # Its lock has ended with it: what the next one is told is of its settings.
    output = finish(fork(command(folder, "--seed", "1")), code=2)
    assert "holds a run with other settings: " in output
    assert "seed (0 there, 1 now)" in output
    outcome("the second is refused, exit code 2; the kill frees the folder")


def test_settings_are_checked_under_the_lock(tmp_path, monkeypatch):
    """Else two could both find the folder empty."""
    from scalenet_training.train import loop

    def check(folder, config):
        with (
            pytest.raises(UsageError, match=IN_USE),
            locked_folder(folder.path, "`workdir`"),
        ):
            pass
        raise UsageError("checked")

    monkeypatch.setattr(loop.RunFolder, "check", check)
    with pytest.raises(UsageError, match="checked"):
        train(tmp_path / "run")


def test_sequential_runs_in_one_process_are_no_conflict(tmp_path):
    for _ in range(2):
        with pytest.raises(UsageError, match="`model` must be one of Sc"):
            train(tmp_path / "run", model="none")
