"""`scalenet runs`: runs found, told in a line each, compared."""

import csv
import dataclasses
import json
import os

import pytest
from records import record, write_run
from scalenet_training.overview import words
from scalenet_training.overview.comparison import differences, results
from scalenet_training.overview.config import RunsConfig
from scalenet_training.overview.finding import find_runs
from scalenet_training.overview.overview import overview, read_run
from scalenet_training.overview.tables import ordered
from scalenet_training.runs.locking import is_locked, locked_folder
from scalenet_training.settings.training import TrainConfig

# Of 8 examples, two steps make an epoch.
SHORT = TrainConfig(batch_size=4, epochs=2)


@pytest.fixture
def command(run_verb):
    """Runs `scalenet runs`: exit code, stdout, stderr."""
    return lambda words="": run_verb("runs", words)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with some runs below it."""
    monkeypatch.chdir(tmp_path)
    write_run("runs/a", (0.5, 0.25), SHORT)
    write_run("runs/deep/er/b", (0.125,), SHORT, architecture={"name": "Other"})
    write_run("runs/new", (), dataclasses.replace(SHORT, dataset="/data/photos/"))
    return tmp_path


def test_runs_are_found_at_any_depth_and_nothing_else(folder):
    write_run("runs/a/inside", (0.5,))
    write_run("runs/.hidden/c", (0.5,))
    os.symlink("a", "runs/link")
    os.makedirs("runs/a/checkpoints/of/nobody")
    os.makedirs("runs/lost/checkpoints")
    (folder / "runs/lost/metrics.csv").touch()  # its record is gone
    os.makedirs("runs/other")
    (folder / "runs/other/config.json").write_text('{"a": 1}')
    (folder / "runs/metrics.csv").touch()  # of a study, say
    expected = ["a", "a/inside", "deep/er/b", "lost", "new"]
    assert find_runs(["runs"]) == [os.path.join("runs", name) for name in expected]
    assert find_runs(["runs/deep/", "runs", "runs/a"])[0] == "runs/deep/er/b"
    assert len(find_runs(["runs/deep/", "runs", "runs/a"])) == 5
    assert find_runs(["runs/link"]) == ["runs/link", "runs/link/inside"]


def diverge(run):
    run.note_divergence("the loss is NaN")


def go_on(run):
    diverge(run)
    run.write_record(run.read_record())


def cut_off(run):
    with open(run.file("metrics.csv"), "a") as file:
        file.write("1,0.5\n")


def lose(run):
    os.remove(run.file("config.json"))
    os.mkdir(run.file("checkpoints"))


@pytest.mark.parametrize(
    ("errors", "change", "state"),
    [
        ((0.5, 0.25), None, "ended"),
        ((0.5,), None, "stopped"),
        ((), None, "stopped"),
        ((0.5,), diverge, "diverged"),
        ((0.5,), go_on, "stopped"),
        ((0.5,), cut_off, "damaged"),
        ((0.5,), lose, "damaged"),
    ],
)
def test_the_state_of_a_run(errors, change, state, tmp_path):
    run = write_run(tmp_path / "run", errors, SHORT)
    if change is not None:
        change(run)
    told = overview(run.path)
    assert told.state == state
    assert told.size == sum(os.path.getsize(path) for path in files(tmp_path))
    if state == "damaged":
        assert told.epochs is None
        name = {cut_off: "metrics.csv", lose: "config.json"}[change]
        assert repr(run.file(name)) in told.reason
    else:
        assert told.reason is None
        assert (told.epochs, told.planned_epochs) == (len(errors), 2)
        best = (min(errors), len(errors)) if errors else (None, None)
        assert (told.best_error, told.best_epoch) == best


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_run_is_running_while_its_folder_is_locked(tmp_path):
    run = write_run(tmp_path / "run", (0.5,), SHORT)
    with locked_folder(run.path, "`workdir`"):
        assert overview(run.path).state == "running"
        assert is_locked(run.path)
    assert not is_locked(run.path)
    assert overview(run.path).state == "stopped"


def test_who_looks_for_a_lock_keeps_no_writer_out(tmp_path, monkeypatch):
    import fcntl

    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    monkeypatch.setattr("time.sleep", lambda _: os.close(descriptor))
    with locked_folder(str(tmp_path), "`workdir`") as lock:
        assert lock.certain


@pytest.mark.parametrize(
    ("epochs", "max_steps", "planned"),
    [(3, None, 3), (3, 1, 1), (3, 2, 1), (3, 3, 2), (3, 99, 3)],
)
def test_planned_epochs_are_those_of_the_steps(epochs, max_steps, planned):
    config = dataclasses.replace(SHORT, epochs=epochs, max_steps=max_steps)
    assert record(config, training_examples=9).planned_epochs == planned


def test_the_list_has_a_line_for_each_run(folder, command):
    cut_off(write_run("runs/bad", (0.5,), SHORT))
    code, out, err = command()
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert " ".join(lines[0].split()) == (
        "run model dataset preset state best error at epoch epochs age size"
    )
    told = {line.split()[0]: " ".join(line.split()[1:-4]) for line in lines[1:5]}
    assert told == {
        "runs/a": "TinyCifar digits digits ended 25.00% 2 2 of 2",
        "runs/bad": "- - - damaged - - -",
        "runs/deep/er/b": "Other digits digits stopped 12.50% 1 1 of 2",
        "runs/new": "TinyCifar photos digits stopped - - 0 of 2",
    }
    assert lines[5].startswith("damaged: 'runs/bad/metrics.csv' is no run's metrics")
    assert lines[6].endswith(" --compare runs/a runs/deep/er/b")
    assert lines[7].endswith(" runs/a runs/deep/er/b")


def test_a_run_that_begins_with_a_dash_can_be_pasted(here, command):
    for name in ("-a", "-b"):
        write_run(name, (0.5, 0.25), SHORT)
    code, out, _ = command("./-a ./-b")
    hints = out.splitlines()[3:]
    assert (code, len(hints)) == (0, 2)
    assert [hint.partition(" ./-a")[2] for hint in hints] == [" ./-b", " ./-b"]


@pytest.mark.parametrize(
    ("by", "first"), [("error", "b"), ("epochs", "new"), ("model", "b"), ("age", "new")]
)
def test_the_list_is_in_the_wanted_order(by, first, folder):
    for age, path in enumerate(("runs/new/config.json", "runs/a/metrics.csv")):
        os.utime(path, (2e9 - age, 2e9 - age))
    found = ordered([*map(overview, find_runs(["runs"]))], by)
    assert os.path.basename(found[0].run) == first
    if by == "error":
        assert found[-1].best_error is None


def test_the_best_epoch_is_the_one_that_the_run_kept(folder, command):
    """By --best loss, another than that of the lowest error."""
    by_loss = dataclasses.replace(SHORT, best="loss")
    run = write_run("runs/loss", (0.25, 0.5), by_loss)
    worse, better = run.rows()
    for row, loss in ((worse, 2.0), (better, 1.0)):
        run.write_row({**row, "val_loss": loss})
    told = overview("runs/loss")
    assert (told.best_error, told.best_epoch) == (0.5, 2)
    assert results([read_run("runs/loss")])["best_val_top1_error"] == [0.5]
    assert run.best_row()["epoch"] == 1


def test_the_list_for_programs_has_everything(folder, command):
    code, out, err = command("--csv list.csv --json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert [one["run"] for one in told] == ["runs/a", "runs/deep/er/b", "runs/new"]
    assert told[2]["dataset"] == "/data/photos/"
    assert told[0]["best_error"] == 0.25
    assert told[0]["changed"].endswith("+00:00")
    with open("list.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == [one["run"] for one in told]
    assert [row["best_error"] for row in rows] == ["0.25", "0.125", ""]


def test_a_comparison_has_what_differs_and_the_results(folder, command):
    config = dataclasses.replace(SHORT, learning_rate=0.5, workdir="elsewhere")
    versions = {"keras": "3.15.1", "new": "1"}
    write_run("runs/c", (0.5, 0.0625), config, versions=versions, data={"files": 3})
    pair = [read_run("runs/a"), read_run("runs/c")]
    assert differences(pair) == {
        "settings": {"learning_rate": [0.02, 0.5]},
        "data": {"recorded": [False, True], "files": [None, 3]},
        "versions": {"new": [None, "1"]},
    }
    assert differences([pair[0], pair[0]]) == {}
    found = results(pair)
    assert found["best_val_top1_error"] == [0.25, 0.0625]
    assert "best_val_top5_error" not in found  # of two classes
    code, out, err = command("--compare runs/a runs/c --plot both.png")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert ["settings", "a", "c"] in lines
    assert ["learning", "rate", "0.02", "0.5"] in lines
    assert ["best", "validation", "top-1", "error", "25.00%", "6.25%"] in lines
    assert not [line for line in lines if line[:1] == ["momentum"]]
    with open("both.png", "rb") as file:
        assert file.read(4) == b"\x89PNG"
    code, out, _ = command("--compare runs/a runs/new --json")
    told = json.loads(out)
    assert (code, told["runs"]) == (0, ["runs/a", "runs/new"])
    assert told["results"]["best_epoch"] == [2, None]


def test_runs_on_different_data_are_not_drawn_in_one_figure(folder, command):
    write_run("runs/other", (0.5,), dataclasses.replace(SHORT, dataset="cifar10"))
    code, _, err = command("--compare runs/a runs/other --plot both.png")
    assert code == 2
    assert err.startswith("error: --plot must be left out: the runs are on different ")
    assert "digits: 2 classes" in err
    for digest in "12":  # of other files by the same names
        write_run(f"runs/{digest}", (0.5,), SHORT, data={"train": digest})
    code, _, err = command("--compare runs/1 runs/2 --plot both.png")
    assert code == 2
    assert "other images" in err
    assert not os.path.exists("both.png")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("none", "FOLDERS must be a folder that exists. Received: 'none'."),
        ("--plot a.png", "--plot is for --compare. Received: 'a.png'."),
        ("--compare runs/a none", "--compare must be the folder of a run"),
        ("--compare runs runs/a", "'runs/config.json' is no run's config.json: "),
        ("runs --compare runs/a runs/a --csv a.csv", "--csv is for the list, not for"),
        ("x --compare runs/a runs/a", "FOLDERS must be left out with --compare"),
        (
            "--compare runs/a runs/new --plot a.png",
            "--plot must be left out: a run",
        ),
        ("--csv list.txt", "--csv must end in .csv. Received: 'list.txt'."),
    ],
)
def test_wrong_options_are_named(words, message, folder, command):
    code, _, err = command(words)
    assert code == 2
    assert err.startswith(f"error: {message}")
    assert sorted(os.listdir()) == ["runs"]


def test_no_run_is_no_error(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    os.mkdir("runs")
    assert command() == (0, "No run in runs.\n", "")


def test_a_list_without_a_run_leaves_no_rows_of_an_earlier_one(folder, command):
    command("--csv list.csv")
    with open("list.csv") as file:
        header = file.readline()
    os.mkdir("empty")
    told = "No run in empty.\nwritten: list.csv\n"
    assert command("empty --csv list.csv") == (0, told, "")
    with open("list.csv") as file:
        assert file.read() == header


def test_names_are_short_where_they_differ_and_cannot_move_the_cursor():
    assert words.names(["x/a", "y/b/"]) == ["a", "b"]
    assert words.names(["x/a", "y/a", "b\x1b"]) == ["x/a", "y/a", "b\\x1b"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("best_val_top1_error", "best validation top-1 error"),
        ("val_loss", "validation loss"),
        ("eval_split", "eval split"),
    ],
)
def test_a_title_is_the_name_in_words(name, told):
    assert words.title(name) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-1, "0 s"), (59.4, "59 s"), (60, "1 min"), (7200, "2 h"), (86400 * 400, "400 d")],
)
def test_an_age_is_told_in_its_largest_unit(seconds, told):
    assert words.age(seconds) == told


def test_the_default_folder_is_that_of_trainings():
    assert os.path.dirname(TrainConfig().run_folder) == RunsConfig().folders[0]
