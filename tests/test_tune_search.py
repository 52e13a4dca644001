"""Searches that are killed at every single write, without training anything."""

import json
import os

import pytest

keras_tuner = pytest.importorskip("keras_tuner")

from scalenet_training.errors import RunError, UsageError  # noqa: E402
from scalenet_training.tune import folder as tune_folder  # noqa: E402
from scalenet_training.tune import search as tune_search  # noqa: E402
from scalenet_training.tune.config import TuneConfig  # noqa: E402
from scalenet_training.tune.folder import SearchFolder  # noqa: E402
from scalenet_training.tune.search import Search, find_role, tuner_id  # noqa: E402

TRIALS = 4


class Network:
    def macs(self, classes):
        return 12


class Stub(keras_tuner.HyperModel):
    """Declares a space; a trial's result is a function of its hyperparameters."""

    classes = 3

    def build(self, hp):
        hp.Float("a", 0, 1)
        hp.Float("b", 0, 1)

    def architecture(self, hp):
        return Network()


@pytest.fixture
def runs(monkeypatch):
    """Trials that took place: what ran, how often."""
    ran = []

    def run_trial(self, trial, **kwargs):
        ran.append(trial.trial_id)
        return {"val_accuracy": trial.hyperparameters.get("a")}

    monkeypatch.setattr(tune_search._Tuner, "run_trial", run_trial)
    monkeypatch.setattr(tune_search._Hyperband, "run_trial", run_trial)
    return ran


class Killed(BaseException):
    """As a signal, it is no Exception, which KerasTuner would take for a failure."""


@pytest.fixture
def kill_at(monkeypatch):
    """Ends the process before its n-th write to the disk."""
    write = tune_folder.write_json

    def arm(number):
        writes = 0

        def counted(path, content):
            nonlocal writes
            writes += 1
            if writes == number:
                raise Killed
            write(path, content)

        monkeypatch.setattr(tune_folder, "write_json", counted)
        monkeypatch.setattr(tune_search, "write_json", counted)

    return arm


def search(kind, trials=TRIALS, **options):
    config = TuneConfig(tuner=kind, max_trials=trials, epochs=4, **options)
    return Search(config, "twin", Stub())


def state(folder):
    """Of every trial: its status, hyperparameters and metrics."""
    trials = tune_folder._trials(folder.file("twin"))
    return {
        name: (
            trial["status"],
            trial["hyperparameters"]["values"],
            trial["metrics"],
            trial["score"],
        )
        for name, trial in trials.items()
    }


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch):
    """A power cut is not what is tested, and a busy disk takes its time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("random", 1),
        ("hyperband", 1),
        # Its Gaussian process takes seconds: not before every write.
        pytest.param("bayesian", 8, marks=pytest.mark.slow),
    ],
)
def test_a_kill_before_any_write_loses_no_trial(kind, step, runs, kill_at, tmp_path):
    whole = SearchFolder(str(tmp_path / "whole"))
    assert search(kind).run(whole, "alone")
    expected = state(whole)
    assert len(expected) == TRIALS
    kills = 0
    for number in range(1, 1000, step):
        folder = SearchFolder(str(tmp_path / f"killed{number}"))
        kill_at(number)
        try:
            search(kind).run(folder, "alone")
            break
        except Killed:
            kills += 1
        before = {n: s for n, s in state(folder).items() if s[0] == "COMPLETED"}
        kill_at(0)
        runs.clear()
        assert search(kind).run(folder, "alone")
        after = state(folder)
        assert sorted(after) == sorted(expected)
        assert all(trial[0] == "COMPLETED" for trial in after.values())
        assert {name: after[name] for name in before} == before
        assert not set(runs) & set(before)  # what ended does not run again
        assert len(runs) == TRIALS - len(before)
        if kind != "bayesian":  # whose random state is not kept
            assert after == expected
        with open(folder.file("twin/oracle.json")) as file:
            oracle = json.load(file)
        assert sorted(oracle["end_order"]) == sorted(expected)
        assert not oracle["ongoing_trials"]
        assert not oracle["retry_queue"]
    assert kills >= 5 * TRIALS // step


def test_a_trial_that_runs_again_counts_by_its_last_run(
    runs, kill_at, tmp_path, monkeypatch
):
    folder = SearchFolder(str(tmp_path))
    # Writes of a trial: two at its begin, its metrics, and then that it has ended.
    kill_at(4)
    with pytest.raises(Killed):
        search("random").run(folder, "alone")
    (trial,) = state(folder).values()
    assert trial[0] == "RUNNING"
    assert trial[2]["metrics"]
    kill_at(0)
    monkeypatch.setattr(
        tune_search._Tuner, "run_trial", lambda self, trial, **_: {"val_accuracy": 0.5}
    )
    search("random").run(folder, "alone")
    assert state(folder)["0"][3] == 0.5


def test_a_search_goes_on_with_more_trials(runs, tmp_path):
    folder = SearchFolder(str(tmp_path))
    assert search("random", trials=2).run(folder, "alone")
    first = state(folder)
    assert search("random", trials=11).run(folder, "alone")
    assert len(state(folder)) == 11
    assert {name: state(folder)[name] for name in first} == first
    assert len(runs) == 11


def test_a_process_ends_after_some_trials_and_the_next_goes_on(runs, tmp_path):
    folder = SearchFolder(str(tmp_path))
    parts = search("random", trials_per_process=2)
    assert [parts.run(folder, "alone") for _ in range(3)] == [False, False, True]
    assert runs == ["0", "1", "2", "3"]


def test_a_search_that_ended_runs_nothing(runs, tmp_path):
    folder = SearchFolder(str(tmp_path))
    search("hyperband").run(folder, "alone")
    runs.clear()
    assert search("hyperband").run(folder, "alone")
    assert not runs


def test_trials_come_by_rank(runs, tmp_path):
    folder = SearchFolder(str(tmp_path))
    searched = search("random")
    searched.run(folder, "alone")
    scores = [trial.score for trial in searched.trials(folder)]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == TRIALS


def test_a_half_written_file_of_the_tuner_is_no_obstacle(runs, tmp_path):
    folder = SearchFolder(str(tmp_path))
    search("random", trials=2).run(folder, "alone")
    (tmp_path / "twin" / "tuner0.json").write_text("")
    assert search("random", trials=3).run(folder, "alone")
    os.remove(tmp_path / "twin" / "tuner0.json")
    assert search("random", trials=4).run(folder, "alone")
    assert runs == ["0", "1", "2", "3"]


def test_three_failures_in_a_row_end_the_search(monkeypatch, tmp_path):
    def run_trial(self, trial, **kwargs):
        raise ValueError("no luck")

    monkeypatch.setattr(tune_search._Tuner, "run_trial", run_trial)
    with pytest.raises(RunError, match=r"three trials in a row failed(.|\n)*no luck"):
        search("random").run(SearchFolder(str(tmp_path)), "alone")


def test_a_damaged_folder_is_an_error(runs, tmp_path):
    folder = SearchFolder(str(tmp_path))
    search("random", trials=2).run(folder, "alone")
    os.remove(tmp_path / "twin" / "trial_0" / "trial.json")
    with pytest.raises(UsageError, match=r"is damaged, there is no trial.json of .* 0"):
        search("random").run(folder, "alone")


def test_folders_of_other_searches_are_refused_and_kept(tmp_path):
    folder = SearchFolder(str(tmp_path / "new"))
    space = TuneConfig().space()
    folder.check(space)
    assert not os.path.exists(folder.path)
    folder.claim(space)
    folder.check(space)
    folder.check(TuneConfig(max_trials=99, data_dir="elsewhere").space())
    before = (tmp_path / "new" / "search.json").read_text()
    other = TuneConfig(epochs=7, budgets=("1x", "0.5x")).space()
    with pytest.raises(UsageError, match="holds a search of another space") as error:
        folder.check(other)
    assert "epochs (5 there, 7 now)" in str(error.value)
    assert "targets (['twin'] there, ['1x', '0.5x'] now)" in str(error.value)
    assert (tmp_path / "new" / "search.json").read_text() == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(UsageError, match="must be new, empty, or the folder of a sea"):
        SearchFolder(str(tmp_path / "other")).check(space)
    with pytest.raises(UsageError, match="--workdir must be a folder"):
        SearchFolder(str(tmp_path / "other" / "mine.txt")).check(space)


ALL = {
    "KERASTUNER_TUNER_ID": "worker0",
    "KERASTUNER_ORACLE_IP": "127.0.0.1",
    "KERASTUNER_ORACLE_PORT": "8000",
}


def test_the_environment_tells_the_role():
    assert find_role({}) == "alone"
    assert tuner_id({}) == "tuner0"
    assert find_role(ALL) == "worker"
    assert find_role({**ALL, "KERASTUNER_TUNER_ID": "chief"}) == "chief"
    assert tuner_id(ALL) == "worker0"
    for name in ALL:
        with pytest.raises(ValueError, match="needs the environment variables KERAS"):
            find_role({**ALL, name: ""})
