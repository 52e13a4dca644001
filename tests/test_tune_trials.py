"""What is done with the network of a trial."""

import os

import pytest
from conftest import TINY_CIFAR
from records import record
from scalenet_training.devices.cluster import find_member, is_chief
from scalenet_training.errors import UsageError
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train import loop
from scalenet_training.tune import trials
from scalenet_training.tune.trials import measure_network, train_trial

import scalenet_tf
from scalenet_tf.profiling import count_parameters


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Settings of a run that keeps its network's name and prints a line, no more."""

    def train(config, workdir, index_folder):
        assert index_folder == "search"
        print("epoch 1")
        folder = RunFolder(workdir)
        if not folder.has_record:
            folder.write_record(record(config=config))

    monkeypatch.setattr(trials, "train_and_evaluate", train)
    return TrainConfig(workdir=str(tmp_path / "run"), model="a/net.json", epochs=2)


def test_what_a_training_prints_goes_to_a_log_or_is_shown(run, tmp_path, capsys):
    for _ in range(2):
        assert train_trial(run, "search", str(tmp_path / "log")) == []
    assert (tmp_path / "log").read_text() == "epoch 1\n" * 2
    assert not capsys.readouterr().out
    train_trial(run, "search", None)
    assert capsys.readouterr().out == "epoch 1\n"


def test_a_run_goes_on_and_that_of_a_search_that_was_moved_starts_anew(run, tmp_path):
    train_trial(run, "search", str(tmp_path / "log"))
    (tmp_path / "run" / "last.keras").touch()
    longer = TrainConfig(**{**vars(run), "epochs": 3})
    train_trial(longer, "search", str(tmp_path / "log"))
    assert (tmp_path / "run" / "last.keras").exists()
    moved = TrainConfig(**{**vars(longer), "model": "b/net.json"})
    train_trial(moved, "search", str(tmp_path / "log"))
    assert not (tmp_path / "run" / "last.keras").exists()


def test_a_run_is_kept_where_something_else_is_wrong_with_it(run, tmp_path):
    """A network drive that fails for a moment, or settings that no search changes."""
    train_trial(run, "search", str(tmp_path / "log"))
    (tmp_path / "run" / "last.keras").touch()
    faster = TrainConfig(**{**vars(run), "learning_rate": 9.0})
    train_trial(faster, "search", str(tmp_path / "log"))  # which the training refuses
    (tmp_path / "run" / "config.json").write_text("")
    with pytest.raises(UsageError, match=r"is no run's config\.json"):
        train_trial(run, "search", str(tmp_path / "log"))
    assert (tmp_path / "run" / "last.keras").exists()


@pytest.mark.parametrize("folder", [None, "search"])
def test_a_run_may_use_the_index_of_another_folder(folder, tmp_path, monkeypatch):
    def prepare(config, index_folder, augmentations, resumes):
        raise UsageError(index_folder)

    monkeypatch.setattr(loop, "prepare", prepare)
    run = str(tmp_path / "run")
    with pytest.raises(UsageError, match=f"^{folder or run}$"):
        loop.train_and_evaluate(TrainConfig(), run, index_folder=folder)


def test_a_trial_is_no_worker_of_the_cluster_of_its_search(run, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "not for trials")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
    train_trial(run, "search", str(tmp_path / "log"))
    assert is_chief(os.environ, "auto")
    assert find_member(os.environ) is None


def test_a_network_is_measured():
    parameters, latency = measure_network(TINY_CIFAR, 32, 10)
    model = scalenet_tf.ScaleNet(TINY_CIFAR, classes=10)
    assert parameters == count_parameters(model)
    assert 0 < latency < 1000
