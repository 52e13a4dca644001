"""Searches that are killed at every single write, without training anything."""

import json
import math
import os
import shutil

import pytest
import tensorflow as tf
from conftest import TINY_CIFAR

keras_tuner = pytest.importorskip("keras_tuner")

from scalenet_training.errors import RunError, UsageError  # noqa: E402
from scalenet_training.train.divergence import DivergedError  # noqa: E402
from scalenet_training.tune import folder as tune_folder  # noqa: E402
from scalenet_training.tune import oracles as tune_oracles  # noqa: E402
from scalenet_training.tune.config import TuneConfig  # noqa: E402
from scalenet_training.tune.folder import SearchFolder  # noqa: E402
from scalenet_training.tune.search import Search  # noqa: E402

import scalenet_tf  # noqa: E402
from scalenet_tf import HyperScaleNet  # noqa: E402

TRIALS = 4


def error_of(config):
    """The error of a run that is not made: a function of its settings."""
    return abs(math.sin(1000 * config.learning_rate))


class Trainings:
    """In the place of the other process: makes no runs, and remembers their settings.

    Attributes:
        configs: The settings of each run.
        outcome: Of settings, the error of their run; may raise.
    """

    def __init__(self, outcome=error_of):
        self.configs = []
        self.outcome = outcome

    def __call__(self, function, config, index_folder, log):
        self.configs.append(config)
        error = self.outcome(config)
        return [
            {"epoch": epoch, "val_loss": 1.0, "val_top1_error": error + 0.1 * (e == 0)}
            for e, epoch in enumerate(range(config.epochs))
        ]


@pytest.fixture
def trainings():
    return Trainings()


class Killed(BaseException):
    """A kill is no error that anything could handle."""


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

        monkeypatch.setattr(tune_oracles, "write_json", counted)

    return arm


def search(kind, folder, trials=TRIALS, **options):
    config = TuneConfig(tuner=kind, max_trials=trials, epochs=4, **options)
    hypermodel = HyperScaleNet(TINY_CIFAR, classes=3, input_shape=(32, 32, 3))
    return Search(config, SearchFolder(str(folder)), "twin", hypermodel, 32)


def state(folder):
    """Of every trial: its status, hyperparameters and metrics."""
    content = json.loads((folder / "twin" / "oracle.json").read_text())
    return {
        name: (
            trial["status"],
            trial["hyperparameters"]["values"],
            trial["metrics"],
            trial["score"],
        )
        for name, trial in content["trials"].items()
    }


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch):
    """A power cut is not what is tested, and a busy disk takes its time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.mark.parametrize(
    "kind",
    [
        "random",
        "hyperband",
        # Its Gaussian process takes seconds.
        pytest.param("bayesian", marks=pytest.mark.slow),
    ],
)
def test_a_kill_before_any_write_loses_no_trial(kind, kill_at, tmp_path):
    whole = tmp_path / "whole"
    search(kind, whole).run("alone", Trainings())
    expected = state(whole)
    assert len(expected) == TRIALS
    kills = 0
    for number in range(1, 1000):
        folder = tmp_path / f"killed{number}"
        kill_at(number)
        try:
            search(kind, folder).run("alone", Trainings())
            break
        except Killed:
            kills += 1
        before = state(folder) if number > 1 else {}
        ended = {n: s for n, s in before.items() if s[0] == "COMPLETED"}
        kill_at(0)
        again = Trainings()
        search(kind, folder).run("alone", again)
        after = state(folder)
        assert after.keys() == expected.keys()
        assert all(trial[0] == "COMPLETED" for trial in after.values())
        assert {name: after[name] for name in ended} == ended
        assert len(again.configs) == TRIALS - len(ended)
        if kind != "bayesian":  # whose random state is not kept
            assert after == expected
    assert kills == 2 * TRIALS  # where a trial begins, and where it ends


def test_a_trial_that_runs_again_counts_by_its_last_run(tmp_path):
    class KilledLater(Trainings):
        def __call__(self, *arguments):
            super().__call__(*arguments)
            raise Killed

    with pytest.raises(Killed):
        search("random", tmp_path, trials=1).run("alone", KilledLater())
    path = tmp_path / "twin" / "oracle.json"
    content = json.loads(path.read_text())
    observed = {"direction": "max", "observations": [{"value": [0.9], "step": 1}]}
    content["trials"]["0"]["metrics"] = {"metrics": {"val_accuracy": observed}}
    path.write_text(json.dumps(content))
    search("random", tmp_path, trials=1).run("alone", Trainings(lambda config: 0.5))
    assert state(tmp_path)["0"][3] == 0.5


def test_a_search_goes_on_with_more_trials(trainings, tmp_path):
    search("random", tmp_path, trials=2).run("alone", trainings)
    first = state(tmp_path)
    search("random", tmp_path, trials=11).run("alone", trainings)
    assert len(state(tmp_path)) == 11
    assert {name: state(tmp_path)[name] for name in first} == first
    assert len(trainings.configs) == 11
    search("random", tmp_path, trials=11).run("alone", trainings)
    assert len(trainings.configs) == 11


def test_a_trial_is_a_run_of_its_own_at_a_constant_learning_rate(trainings, tmp_path):
    searched = search("random", tmp_path, batch_size=16, augment="none")
    searched.run("alone", trainings)
    folders = [f"{tmp_path}/twin/trial_{number}" for number in range(TRIALS)]
    assert [config.workdir for config in trainings.configs] == [
        f"{folder}/run" for folder in folders
    ]
    for config, folder in zip(trainings.configs, folders, strict=True):
        assert config.model == f"{folder}/architecture.json"
        assert (config.epochs, config.batch_size, config.augment) == (4, 16, "none")
        assert (config.schedule, config.milestones) == ("steps", ())
        assert config.warmup_epochs == 0
    assert len({config.learning_rate for config in trainings.configs}) == TRIALS
    paths = [config.model for config in trainings.configs]
    networks = [scalenet_tf.load_architecture(path) for path in paths]
    assert len({network.allocation for network in networks}) > 1


def test_hyperband_goes_on_with_the_run_of_an_earlier_trial(trainings, tmp_path):
    search("hyperband", tmp_path, trials=8).run("alone", trainings)
    values = [trial[1] for trial in state(tmp_path).values()]
    epochs = {}
    for config, value in zip(trainings.configs, values, strict=True):
        assert config.epochs == value["tuner/epochs"]
        assert epochs.get(config.workdir, 0) == value["tuner/initial_epoch"]
        epochs[config.workdir] = config.epochs
    assert max(epochs.values()) == 4
    assert len(epochs) < len(values)
    networks = {config.workdir: config.model for config in trainings.configs}
    assert all(os.path.dirname(w) == os.path.dirname(m) for w, m in networks.items())


def test_the_error_is_that_of_the_trials_own_epochs(tmp_path):
    class Worsening(Trainings):
        def __call__(self, *arguments):
            rows = super().__call__(*arguments)
            return [{**row, "val_top1_error": 0.1 * row["epoch"]} for row in rows]

    search("hyperband", tmp_path, trials=8).run("alone", Worsening())
    trials = state(tmp_path).values()
    assert {values["tuner/initial_epoch"] for _, values, _, _ in trials} > {0}
    for _, values, _, score in trials:
        assert 1 - score == pytest.approx(0.1 * values["tuner/initial_epoch"])


def test_trials_come_by_rank(trainings, tmp_path):
    searched = search("random", tmp_path)
    searched.run("alone", trainings)
    scores = [trial.score for trial in searched.trials()]
    assert scores == sorted(scores, reverse=True)
    # The best of four epochs, of which the first is worse.
    errors = sorted(error_of(config) for config in trainings.configs)
    assert [1 - score for score in scores] == pytest.approx(errors)


def diverges(config):
    raise DivergedError("the loss became NaN", "Advice for a run.")


def exhausts(config):
    raise tf.errors.ResourceExhaustedError(None, None, "out of memory")


@pytest.mark.parametrize("outcome", [diverges, exhausts])
def test_three_failures_in_a_row_end_the_search(outcome, tmp_path):
    with pytest.raises(
        RunError, match=r"^three trials in a row failed, the last: .*(NaN|memory)$"
    ):
        search("random", tmp_path).run("alone", Trainings(outcome))
    assert [trial[0] for trial in state(tmp_path).values()] == ["FAILED"] * 3


def test_a_trial_that_failed_is_not_repeated_and_never_the_best(tmp_path):
    def every_second(config):
        return 0.1 if len(trainings.configs) % 2 else diverges(config)

    trainings = Trainings(every_second)
    searched = search("random", tmp_path, trials=6)
    searched.run("alone", trainings)
    searched.run("alone", trainings)
    assert len(trainings.configs) == 6
    statuses = [trial.status for trial in searched.trials()]
    assert statuses == ["COMPLETED"] * 3 + ["FAILED"] * 3


def test_a_bug_comes_out_as_itself_and_leaves_its_trial_open(tmp_path):
    def bug(config):
        raise ValueError("shapes do not fit")

    with pytest.raises(ValueError, match=r"^shapes do not fit$"):
        search("random", tmp_path).run("alone", Trainings(bug))
    assert [trial[0] for trial in state(tmp_path).values()] == ["RUNNING"]
    again = Trainings()
    search("random", tmp_path).run("alone", again)
    assert len(again.configs) == TRIALS


def test_a_search_of_version_0_1_goes_on(written, trainings):
    written = written / "search"
    scores = [trial.score for trial in search("random", written).trials()]
    assert scores == [0.109375, 0.09375]
    # The second had not ended when it was killed.
    path = written / "twin" / "trial_1" / "trial.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "status": "RUNNING", "score": None}))
    shutil.copytree(written / "twin" / "trial_1", written / "twin" / "trial_7")
    (written / "twin" / "tuner0.json").write_text("")
    search("random", written, trials=3).run("alone", trainings)
    runs = [os.path.relpath(c.workdir, written) for c in trainings.configs]
    assert runs == ["twin/trial_1/run", "twin/trial_2/run"]
    values = content["hyperparameters"]["values"]
    assert trainings.configs[0].learning_rate == values["learning_rate"]
    assert sorted(state(written)) == ["0", "1", "2"]
    assert state(written)["0"][3] == 0.109375


def test_a_damaged_folder_is_an_error(written, trainings):
    written = written / "search"
    os.remove(written / "twin" / "trial_0" / "trial.json")
    with pytest.raises(
        UsageError, match=r"trial_0/trial.json' cannot be read: .*No su"
    ):
        search("random", written).run("alone", trainings)
    (written / "twin" / "oracle.json").write_text("[]")
    with pytest.raises(UsageError, match=r"oracle.json' cannot be read: it is no JSON"):
        search("random", written).run("alone", trainings)
    assert not trainings.configs


def test_folders_of_other_searches_are_refused_and_kept(tmp_path):
    folder = SearchFolder(str(tmp_path / "new"))
    space = TuneConfig().space()
    folder.check(space)
    assert not os.path.exists(folder.path)
    folder.claim(space)
    folder.check(space)
    folder.check(TuneConfig(max_trials=99, data_dir="elsewhere").space())
    photos = SearchFolder(str(tmp_path / "photos"))
    photos.claim(TuneConfig(dataset="photos", model="./net.json").space())
    photos.check(TuneConfig(dataset="photos/", model="net.json").space())
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
    with pytest.raises(UsageError, match="`workdir` must be a folder"):
        SearchFolder(str(tmp_path / "other" / "mine.txt")).check(space)
