"""Studies: their file, their allocations, their statistics and their report."""

import dataclasses
import json
import math
import os
import pathlib
import re
import shlex
import shutil
import signal
import time

import image_folders
import numpy as np
import pytest
import records
from command_lines import decided
from conftest import TINY_CIFAR
from processes import finish, start
from scalenet_training.errors import UsageError
from scalenet_training.settings.base import fields_of
from scalenet_training.settings.training import TrainConfig
from scalenet_training.study import results as statistics
from scalenet_training.study.agreement import agreements_of
from scalenet_training.study.allocations import make_allocation, narrowed
from scalenet_training.study.collection import (
    collect,
    command_of,
    has_ended,
    note_hardware,
)
from scalenet_training.study.config import StudyConfig
from scalenet_training.study.report import quoted_tables, render
from scalenet_training.study.results import (
    Interval,
    Result,
    read_results,
    summarize,
    write_results,
)
from scalenet_training.study.running import run_study
from scalenet_training.study.spec import AllocationSpec, StudyRun, read_study

import scalenet_tf

ROOT = pathlib.Path(__file__).parents[1]

STUDY = """
title = "A study"
seeds = [0, 1]
compare_with = "twin"

[options]
epochs = 1
batch_size = 64
milestones = [0.25, 0.5]

[arms.scalenet]
model = "ScaleNetCifar38"

[arms.twin]
model = "ResNetCifar38"
learning_rate = 0.1

[arms.seed]
allocation = "seed"

[arms.learned]
allocation = "learned"

[allocations.seed]
kind = "seed"
width = 0.5

[allocations.learned]
kind = "learned"
target_macs = "0.5x"
width = 0.5
seed_arm = "seed"
"""


def study_of(tmp_path, text=STUDY):
    path = tmp_path / "study.toml"
    path.write_text(text)
    return read_study(path)


def test_a_study_is_its_arms_times_its_seeds(tmp_path):
    study = study_of(tmp_path)
    runs = list(study.runs("runs"))
    assert [run.name for run in runs] == [
        f"{arm}-{seed}"
        for seed in (0, 1)
        for arm in ("scalenet", "twin", "seed", "learned")
    ]
    twin = runs[1].settings("ResNetCifar38", "data")
    assert (twin.epochs, twin.batch_size, twin.learning_rate) == (1, 64, 0.1)
    assert (twin.seed, twin.workdir) == (0, os.path.join("runs", "twin-0"))
    assert (twin.milestones, twin.data_dir) == ((0.25, 0.5), "data")
    assert runs[0].arm.config.learning_rate == 0.02
    assert study.seed_run(runs[7], "runs").name == "seed-1"


WRONG = {
    'title = "A study"\n': ("", "the study must have 'title'"),
    "seeds = [0, 1]": ("seeds = [0, 0]", "`seeds` must be different whole numbers"),
    'compare_with = "twin"': ('compare_with = "b"', "one of the arms, scalenet, twin"),
    "epochs = 1": ("epoch = 1", r"`arms.scalenet` .* must not have 'epoch'"),
    "batch_size = 64": (
        "batch_size = 0",
        r"`arms.scalenet`: .*batch.size.* more than 0",
    ),
    'model = "ResNetCifar38"\nlearning_rate = 0.1': (
        'model = "ResNetCifar38"\nlearning_rate = "a"',
        "`arms.twin`: ",
    ),
    'model = "ResNetCifar38"\n': ("", "either `model` or `allocation`"),
    'allocation = "seed"': ('allocation = "x"', "one of `allocations`, seed, learned"),
    'kind = "seed"': ('kind = "best"', "`allocations.seed`: `kind` must be one of"),
    'seed_arm = "seed"': ("", "`seed_arm` must be given for `kind` 'learned'"),
    'target_macs = "0.5x"': ('target_macs = "0.5"', None),
    "[arms.scalenet]": ('[arms."../a"]', "names of `arms` must be letters"),
    "[options]": ("[options", "study.toml"),
    "milestones = [0.25, 0.5]": ("max_steps = 3", "must not have 'max_steps'"),
    "learning_rate = 0.1": ("early_stopping = 2", "not have 'early_stopping'"),
}


@pytest.mark.parametrize("right", WRONG)
def test_a_wrong_study_is_an_error_that_names_the_key(tmp_path, right):
    wrong, message = WRONG[right]
    assert right in STUDY
    text = STUDY.replace(right, wrong, 1)
    if message is None:  # half a multiply-accumulate is a number of them
        study_of(tmp_path, text)
        return
    with pytest.raises(ValueError, match=message) as error:
        study_of(tmp_path, text)
    assert "study.toml" in str(error.value)


def spec(kind, **options):
    return AllocationSpec("a", kind, **options)


@pytest.mark.parametrize("kind", ["even", "published", "random", "twin"])
@pytest.mark.parametrize("target", ["0.5x", "twin"])
def test_allocations_meet_their_target(kind, target):
    made = make_allocation(spec(kind, target_macs=target), 10, seed=0)
    twin = scalenet_tf.get_architecture("ResNetCifar38").macs(10)
    ratio = made.macs(10) / (twin * (0.5 if target == "0.5x" else 1))
    assert 0.97 <= ratio <= 1


def test_allocations_are_what_they_are_called():
    published = scalenet_tf.get_architecture("ScaleNetCifar38")
    rows = {
        kind: make_allocation(spec(kind, target_macs="0.6x"), 10, seed=0).allocation
        for kind in ("even", "published", "random", "twin")
    }
    for row in rows["even"]:
        assert max(row) - min(row) <= 1
    for row, original in zip(rows["published"], published.allocation, strict=True):
        shares = np.array(row) / sum(row) - np.array(original) / sum(original)
        assert abs(shares).max() <= 1 / sum(row)
    assert all(row[1:] == (0, 0) for row in rows["twin"])
    again = make_allocation(spec("random", target_macs="0.6x"), 10, seed=1)
    assert rows["random"] != again.allocation


def test_half_the_width_reaches_a_quarter_of_the_cost():
    options = {"target_macs": "0.25x", "width": 0.5}
    made = make_allocation(spec("even", **options), 10, seed=0)
    twin = scalenet_tf.get_architecture("ResNetCifar38").macs(10)
    assert 0.97 * 0.25 <= made.macs(10) / twin <= 0.25
    with pytest.raises(ValueError, match="from"):
        make_allocation(spec("even", target_macs="0.25x"), 10, seed=0)
    whole = scalenet_tf.get_architecture("ScaleNetCifar38")
    assert narrowed(whole, 1) is whole


def test_a_learned_allocation_follows_its_importance():
    """By |gamma| the scale with the larger ones wins; by scale, none does."""
    seed = make_allocation(spec("seed"), 10, seed=0)
    generator = np.random.default_rng(0)
    factors = {1: 1.0, 2: 4.0, 4: 0.25}
    learned = [
        {s: f * generator.uniform(0.9, 1.1, block.width) for s, f in factors.items()}
        for block in seed.blocks()
    ]
    options = {"target_macs": "0.5x", "seed_arm": "seed"}
    by_gamma = make_allocation(spec("learned", **options), 10, 0, learned)
    options["importance"] = "gamma-by-scale"
    by_scale = make_allocation(spec("learned", **options), 10, 0, learned)
    assert all(row[1] > row[0] >= row[2] == 0 for row in by_gamma.allocation)
    kept = np.sum(by_scale.allocation, axis=0)
    assert min(kept / kept.sum()) > 0.25


@pytest.mark.parametrize("importance", ["gamma", "gamma-by-scale"])
def test_nothing_is_learned_from_a_seed_network_that_has_learned_nothing(importance):
    """As `allocate` refuses it: its ranking would be that of positions."""
    seed = make_allocation(spec("seed"), 10, seed=0)
    learned = [
        {s: np.ones(block.width) for s in seed.scales} for block in seed.blocks()
    ]
    options = {"target_macs": "0.5x", "seed_arm": "seed", "importance": importance}
    with pytest.raises(ValueError, match="`importance` does not tell the neurons of a"):
        make_allocation(spec("learned", **options), 10, 0, learned)


def result(arm, seed, error, **changes):
    values = {
        "architecture": arm,
        "parameters": 10,
        "macs": 2_000_000,
        "epochs": 1,
        "train_error": 0.5,
        "top5_error": 0.1,
        "loss": 1.0,
        "images_per_second": 100,
        "command": "scalenet train",
        "hardware": "a machine",
        "date": "2026-01-02",
        "versions": "a 1",
    }
    return Result(arm=arm, seed=seed, error=error, **{**values, **changes})


def test_intervals_are_students():
    interval = Interval.of([0.1, 0.2, 0.3])
    assert interval.mean == pytest.approx(0.2)
    assert interval.standard_error == pytest.approx(0.1 / math.sqrt(3))
    # 4.302653 is the 97.5 % quantile of Student's t with two degrees of freedom.
    assert interval.half_width == pytest.approx(4.302653 * 0.1 / math.sqrt(3), 1e-6)
    assert math.isnan(Interval.of([0.5]).half_width)
    with pytest.raises(ValueError, match="one number or more"):
        Interval.of([])


def test_differences_are_taken_seed_by_seed(tmp_path):
    study = study_of(tmp_path)
    runs = [
        result("scalenet", 0, 0.10),
        result("scalenet", 1, 0.20),
        result("twin", 1, 0.23, macs=3_000_000),
        result("twin", 0, 0.11),
        result("gone", 0, 0.5),
    ]
    scalenet, twin = summarize(study, runs)
    assert scalenet.difference.mean == pytest.approx(-0.02)
    assert scalenet.difference.half_width == pytest.approx(12.7062 * 0.01, 1e-4)
    assert twin.difference is None
    table = statistics.table(study, runs)
    assert "| scalenet | 2 | 2,000,000 | 10 | 1 | 15.00 | 5.00 | -2.00 [-14.71" in table
    assert "| twin | 2 | 2,000,000 to 3,000,000 |" in table
    text = render(study, runs)
    assert "Runs that have ended: 4 of 8" in text
    assert "(left: seed-0, learned-0, seed-1, learned-1)" in text


@pytest.mark.parametrize("epochs", [2, 4])
def test_a_run_of_other_epochs_is_still_missing(tmp_path, epochs):
    study = study_of(tmp_path, STUDY.replace("epochs = 1", "epochs = 3"))
    ended = [
        result(arm.name, seed, 0.1, epochs=3) for arm in study.arms for seed in (0, 1)
    ]
    assert statistics.missing(study, ended) == []
    ended[2] = result("twin", 0, 0.1, epochs=epochs)
    assert statistics.missing(study, ended) == ["twin-0"]
    summaries = {summary.arm: summary for summary in summarize(study, ended)}
    # Nor is it compared with those of other arms: it is another training.
    assert [run.seed for run in summaries["twin"].results] == [1]
    assert math.isnan(summaries["scalenet"].difference.half_width)  # of one pair


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"arms": ("twin", "twins")}, "`arms` must be of the study's, .* twins"),
        ({"seeds": (2,)}, "`seeds` must be of the study's, 0, 1. Received: 2"),
    ],
)
def test_what_a_study_does_not_have_cannot_be_chosen(tmp_path, choice, message):
    study_of(tmp_path)
    runs = tmp_path / "runs"
    file, workdir = os.fspath(tmp_path / "study.toml"), os.fspath(runs)
    with pytest.raises(UsageError, match=message):
        run_study(StudyConfig(file=file, workdir=workdir, **choice))
    assert not runs.exists()


def test_results_are_read_as_they_were_written(tmp_path):
    path = os.fspath(tmp_path / "results.csv")
    assert read_results(path) == []
    runs = [result("a", 0, 0.1 + 0.2), result("b", 1, 1 / 3, versions="a 1, b 2")]
    write_results(path, runs)
    assert read_results(path) == runs
    text = (tmp_path / "results.csv").read_text()
    (tmp_path / "results.csv").write_text(text.replace(",100,", ",100.0,"))
    assert read_results(path) == runs
    (tmp_path / "results.csv").write_text(text.replace(",100,", ",100.5,"))
    with pytest.raises(ValueError, match="'images_per_second' must be a number"):
        read_results(path)
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"results.csv' cannot be.* the columns arm, "):
        read_results(path)


def test_tables_that_a_text_quotes_are_compared(tmp_path):
    (tmp_path / "one").mkdir()
    study = study_of(tmp_path / "one")
    runs = [result("twin", 0, 0.25)]
    write_results(os.fspath(tmp_path / "one" / "results.csv"), runs)
    table = statistics.table(study, runs)
    text = f"a\n<!-- study: one -->\n{table}\n<!-- end of study -->\nb\n"
    assert quoted_tables(text, tmp_path) == []
    assert quoted_tables(text.replace("25.00", "24.00"), tmp_path) == ["one"]


@pytest.mark.parametrize("page", ["README.md", *sorted(ROOT.glob("results/*/*.md"))])
def test_the_pages_quote_their_studies_as_they_are(page):
    assert quoted_tables((ROOT / page).read_text(), ROOT) == []


TINY_STUDY = """
title = "Tiny networks on digits"
seeds = [0]
compare_with = "seed"

[options]
epochs = 1
batch_size = 64
learning_rate = 0.1  # tells the neurons apart in ten steps
train_split = "train[:640]"

[arms.learned]
allocation = "learned"

[arms.seed]
allocation = "seed"

[allocations.seed]
kind = "seed"
base = "{model}"

[allocations.learned]
kind = "learned"
base = "{model}"
seed_arm = "seed"
"""


def test_a_run_that_was_stopped_while_it_evaluated_is_collected(tmp_path):
    """The speed of that epoch is not known."""
    study = study_of(tmp_path, STUDY.replace("epochs = 1", "epochs = 2"))
    config = StudyConfig(str(tmp_path / "study.toml"), workdir=str(tmp_path / "runs"))
    for run, speeds in zip(
        study.runs(config.runs_folder),
        ((math.nan, 250.0), (math.nan, math.nan)),
        strict=False,
    ):
        folder = records.write_run(run.folder, config=run.arm.config)
        for epoch, speed in enumerate(speeds):
            folder.write_row({**records.row(epoch, 0.1), "images_per_second": speed})
    results = collect(study, config)
    assert [result.images_per_second for result in results] == [250, 0]
    assert read_results(tmp_path / "results.csv") == results


def test_allocations_of_seeds_are_compared_by_shares(tmp_path):
    study = study_of(tmp_path)
    assert agreements_of(study, str(tmp_path)) == []
    (tmp_path / "allocations").mkdir()
    for seed, allocation in enumerate([((4, 2, 0), (2, 2, 4)), ((8, 2, 0), (4, 2, 6))]):
        made = dataclasses.replace(
            TINY_CIFAR, allocation=allocation, budget_per_stage=None
        )
        path = tmp_path / "allocations" / f"learned-{seed}.json"
        path.write_text(json.dumps(made.to_record()))
    (found,) = agreements_of(study, str(tmp_path))
    assert (found.arm, found.seeds) == ("learned", 2)
    shares = [
        [2 / 3, 1 / 3, 0, 1 / 4, 1 / 4, 1 / 2],
        [0.8, 0.2, 0, 1 / 3, 1 / 6, 1 / 2],
    ]
    assert found.difference == pytest.approx(np.abs(np.subtract(*shares)).mean())
    # Ranks 6 4 1 2.5 2.5 5 and 6 3 1 4 2 5.
    ranks = [[6, 4, 1, 2.5, 2.5, 5], [6, 3, 1, 4, 2, 5]]
    assert found.correlation == pytest.approx(np.corrcoef(*ranks)[0, 1])
    text = render(study, [result("learned", 0, 0.1)], [found])
    assert "| learned | 2 | 7.2 | 0.90 |" in text


CHANGES = {
    "an option": (
        ("learning_rate = 0.1", "learning_rate = 0.2"),
        (
            r"learning_rate \(0.1 then, 0.2 now\)",
            r"learning_rate \('0.1' then",
        ),
    ),
    "an option of all": (
        ("batch_size = 64", "batch_size = 32"),
        (r"batch_size \(64 then, 32 now\)", r"batch_size \('64' then, 'not given' "),
    ),
    "more epochs": (
        ("epochs = 1", "epochs = 2"),
        (r"epochs \(1 then, 2 now\)", r"epochs \('1' then, '2' now\)"),
    ),
    "a network": (
        ('"ResNetCifar38"', '"ResNetCifar56"'),
        (r"model \('ResNetCifar38' then", r"model \('ResNetCifar38' then"),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_runs_of_a_study_that_has_changed_are_not_taken_for_its_own(tmp_path, name):
    """Neither by their folders, nor by their rows once these are gone."""
    study = study_of(tmp_path)
    config = StudyConfig(
        str(tmp_path / "study.toml"), workdir=str(tmp_path / "runs"), report=True
    )
    run = next(run for run in study.runs(config.runs_folder) if run.arm.name == "twin")
    settings = run.settings(run.arm.config.model, None)
    records.write_run(run.folder, config=settings).write_row(records.row(0, 0.1))
    run_study(config)
    (before, now), messages = CHANGES[name]
    study_of(tmp_path, STUDY.replace(before, now))
    results = (tmp_path / "results.csv").read_bytes()
    for message in messages:
        with pytest.raises(UsageError, match=r"its run twin-0 began: .*" + message):
            run_study(config)
        shutil.rmtree(run.folder, ignore_errors=True)
    assert (tmp_path / "results.csv").read_bytes() == results
    # What is computed stays the same, and the row may have been through a spreadsheet.
    (tmp_path / "results.csv").write_bytes(b"\xef\xbb\xbf" + results)
    how = "milestones = [0.25, 0.5]\ncheckpoint_minutes = 5.0"
    study_of(tmp_path, STUDY.replace("milestones = [0.25, 0.5]", how))
    run_study(config)
    assert (tmp_path / "results.csv").read_bytes() == results


def study_with_rows(tmp_path, runs):
    study_of(tmp_path)
    write_results(os.fspath(tmp_path / "results.csv"), runs)
    for run in runs:
        path = statistics.metrics_file(os.fspath(tmp_path), run.arm, run.seed)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        folder = records.write_run(tmp_path / "run", (0.5,))
        shutil.copyfile(folder.file("metrics.csv"), path)
        shutil.rmtree(tmp_path / "run")
    return StudyConfig(
        str(tmp_path / "study.toml"), workdir=str(tmp_path / "runs"), report=True
    )


def command_row(arm, seed, error, **changes):
    """A row whose command is that of STUDY, so that it has not changed."""
    model = {"scalenet": "ScaleNetCifar38", "twin": "ResNetCifar38"}[arm]
    (run,) = (
        StudyRun(found, seed, "run")
        for found in read_study(changes.pop("file")).arms
        if found.name == arm
    )
    return result(
        arm, seed, error, command=shlex.join(command_of(run, model)), **changes
    )


def test_rows_that_a_study_no_longer_has_are_kept_but_not_told(tmp_path):
    study_of(tmp_path)
    file = tmp_path / "study.toml"
    kept = command_row("twin", 0, 0.25, file=file)
    gone = result("gone", 0, 0.5, hardware="another machine", date="2020-01-01")
    config = study_with_rows(tmp_path, [gone, kept, result("twin", 7, 0.75)])
    run_study(config)
    rows = read_results(tmp_path / "results.csv")
    assert [(row.arm, row.seed) for row in rows] == [
        ("twin", 0),
        ("gone", 0),
        ("twin", 7),
    ]
    report = (tmp_path / "report.md").read_text()
    assert "| twin | 1 |" in report
    assert "| 25.00 |" in report
    assert "Hardware: a machine." in report
    assert "Dates: 2026-01-02 to 2026-01-02." in report


@pytest.mark.parametrize("arms", [["twin"], ["scalenet", "twin"]])
def test_a_run_without_its_metrics_is_left_out_of_the_curves(tmp_path, capsys, arms):
    study_of(tmp_path)
    file = tmp_path / "study.toml"
    config = study_with_rows(
        tmp_path, [command_row(arm, 0, 0.25, file=file) for arm in arms]
    )
    missing = tmp_path / "metrics" / "twin-0.csv"
    missing.unlink()
    run_study(config)
    assert f"note: {str(missing)!r} has no rows or is not" in capsys.readouterr().err
    assert "| twin | 1 |" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "curves.png").exists()


PHOTOS = """
title = "Photographs"
seeds = [0]
compare_with = "one"

[options]
preset = "photos"
dataset = "photos"
momentum = 0.8

[arms.one]
model = "ScaleNetCifar38"
epochs = 3

[arms.two]
model = "ResNetCifar38"
batch_size = 8
"""


def test_what_a_study_leaves_open_follows_from_the_images_as_in_train(here):
    image_folders.make("photos", count=40)
    for run in study_of(here, PHOTOS).runs("runs"):
        model = run.arm.config.model
        command = command_of(run, model)
        found, _ = decided(shlex.join(command[command.index("--preset") :]))
        own = "--epochs 3" if run.arm.name == "one" else "--batch-size 8"
        line = f"--dataset photos --momentum 0.8 --model {model} {own}"
        expected, _ = decided(f"{line} --workdir runs/{run.name}")
        assert found == expected
        assert (found.eval_resize, found.augment) == (32, "crop-flip")


def test_a_run_whose_epochs_follow_from_the_images_ends_as_it_has_planned(here):
    study = study_of(here, PHOTOS)
    config = StudyConfig(str(here / "study.toml"), workdir="runs", report=True)
    _, run = study.runs("runs")
    settings = run.settings("ResNetCifar38", None)
    settings = dataclasses.replace(settings, image_size=32, eval_resize=32, epochs=2)
    folder = records.write_run(run.folder, (0.5,), settings)
    assert not has_ended(run)
    folder.write_row(records.row(1, 0.25))
    assert has_ended(run)
    run_study(config)
    (row,) = read_results("results.csv")
    assert (row.arm, row.epochs) == ("two", 2)
    assert statistics.missing(study, [row]) == ["one-0"]
    shutil.rmtree("runs")
    run_study(config)  # by its row, in which they are not
    assert read_results("results.csv") == [row]


@pytest.mark.parametrize(
    ("dataset", "preset"),
    [("cifar10", "cifar10"), ("cifar100:3.0.2", "cifar100"), ("photos", "photos")],
)
def test_a_study_without_a_preset_takes_that_of_its_data(here, dataset, preset):
    """As `train` does; it took that of digits."""
    image_folders.make("photos")
    text = PHOTOS.replace('preset = "photos"\n', "")
    text = text.replace('dataset = "photos"', f'dataset = "{dataset}"')
    one, two = study_of(here, text).arms
    assert one.config.preset == two.config.preset == preset


def test_a_study_by_a_preset_without_a_dataset_must_name_one(here):
    text = PHOTOS.replace('dataset = "photos"\n', "")
    with pytest.raises(ValueError, match="`dataset` must be given for `preset` photos"):
        study_of(here, text)


def test_the_guide_lists_the_options_that_a_study_refuses(here):
    guide = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    (sentence,) = re.findall(r"the machine, are refused:(.*?)\.\n", guide, re.DOTALL)
    refused = set()
    for name in {*fields_of(TrainConfig)} - {"model"}:
        try:
            study_of(here, PHOTOS.replace("momentum = 0.8", f"{name} = 1"))
        except ValueError as error:  # or its value is none of this option's
            if f"must not have {name!r}" in str(error):
                refused.add(name)
    assert {*re.findall(r"`(\w+)`", sentence)} == refused


def test_an_allocation_is_that_of_the_study(tmp_path):
    study_of(tmp_path)
    (tmp_path / "allocations").mkdir()
    made = {"provenance": {"kind": "learned", "target_macs": "0.9x", "seed": 1}}
    listed = json.dumps([TINY_CIFAR.to_record()])  # a list may be an allocation, too
    (tmp_path / "allocations" / "learned-0.json").write_text(listed)
    (tmp_path / "allocations" / "learned-1.json").write_text(json.dumps(made))
    config = StudyConfig(str(tmp_path / "study.toml"), report=True)
    with pytest.raises(
        UsageError, match=r"allocations\.target_macs \('0.9x' then, '0.5x' now\)"
    ):
        run_study(config)


def test_a_run_keeps_every_machine_that_trained_it(tmp_path, monkeypatch):
    (arm, *_) = study_of(tmp_path).arms
    run = StudyRun(arm, 0, str(tmp_path / "run"))
    note_hardware(run)
    assert not (tmp_path / "run").exists()  # of a run that has not begun
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    for cores in (3, 3, 5):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        note_hardware(run)
    lines = (tmp_path / "run" / "hardware.txt").read_text().splitlines()
    assert [line.partition(", ")[2].partition(",")[0] for line in lines] == [
        "3 cores",
        "5 cores",
    ]


@pytest.mark.processes
def test_a_study_trains_what_is_missing_and_reports(tmp_path):
    """The seed network first, then what is learned from it; then nothing."""
    folder = tmp_path / "results"
    folder.mkdir()
    model = folder / "tiny.json"
    model.write_text(json.dumps(TINY_CIFAR.to_record()))
    file = folder / "study.toml"
    file.write_text(TINY_STUDY.format(model=model))
    command = ["-m", "scalenet_training", "study", str(file), "--workdir"]
    command.append(str(tmp_path / "runs"))
    output = finish(start(command))
    assert output.index("== seed-0") < output.index("== learned-0")
    assert "2 of 2 runs have ended." in output
    assert sorted(os.listdir(folder)) == [
        "allocations",
        "curves.png",
        "macs.png",
        "metrics",
        "report.md",
        "results.csv",
        "study.toml",
        "tiny.json",
    ]
    before = (folder / "results.csv").read_text()
    learned, seed = read_results(os.fspath(folder / "results.csv"))
    assert (learned.arm, seed.arm) == ("learned", "seed")
    assert seed.macs > learned.macs
    assert "--model allocations/learned-0.json" in learned.command
    output = finish(start([*command, "--check"]))
    assert "2 runs; report.md is what results.csv gives" in output
    output = finish(start(command))
    assert "==" not in output
    assert (folder / "results.csv").read_text() == before
    shutil.rmtree(tmp_path / "runs")  # the results are what counts
    output = finish(start(command))
    assert "==" not in output
    assert (folder / "results.csv").read_text() == before
    write_results(os.fspath(folder / "results.csv"), [seed])
    output = finish(start([*command, "--arms", "learned", "--seeds", "0"]))
    assert output.count("== ") == output.count("== learned-0") == 1
    assert "2 of 2 runs have ended." in output
    again = read_results(os.fspath(folder / "results.csv"))
    assert [run.error for run in again] == [learned.error, seed.error]
    changed = dataclasses.replace(seed, error=0.0)
    write_results(os.fspath(folder / "results.csv"), [learned, changed])
    output = finish(start([*command, "--check"]), code=1)
    assert "is not what results.csv gives" in output


@pytest.mark.processes
def test_the_seed_network_of_a_chosen_arm_is_trained_again_where_it_is_gone(tmp_path):
    model = tmp_path / "tiny.json"
    model.write_text(json.dumps(TINY_CIFAR.to_record()))
    file = tmp_path / "study.toml"
    file.write_text(TINY_STUDY.format(model=model))
    trained = "scalenet train --preset digits --model allocations/seed-0.json "
    trained += "--epochs 1 --batch-size 64 --learning-rate 0.1 "
    trained += "--train-split 'train[:640]'"
    row = result("seed", 0, 0.1, command=trained)
    write_results(os.fspath(tmp_path / "results.csv"), [row])
    command = ["-m", "scalenet_training", "study", str(file), "--workdir"]
    command += [str(tmp_path / "runs"), "--arms", "learned"]
    output = finish(start(command))
    assert output.index("== seed-0") < output.index("== learned-0")


@pytest.mark.processes
def test_a_target_that_cannot_be_reached_is_refused_before_anything_is_trained(
    tmp_path,
):
    file = tmp_path / "study.toml"
    text = STUDY.replace('target_macs = "0.5x"', 'target_macs = "0.01x"')
    file.write_text(text)
    runs = tmp_path / "runs"
    command = ["-m", "scalenet_training", "study", str(file), "--workdir", str(runs)]
    output = finish(start(command), code=2)
    assert "error: `allocations.learned`: " in output
    assert os.listdir(tmp_path) == ["study.toml"]


@pytest.mark.processes
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_study_that_is_stopped_saves_its_run_and_goes_on(tmp_path, name):
    """The training gets one signal, and saves; nothing is left running."""
    model = tmp_path / "tiny.json"
    model.write_text(json.dumps(TINY_CIFAR.to_record()))
    file = tmp_path / "study.toml"
    text = TINY_STUDY.format(model=model)
    file.write_text(text.replace("epochs = 1", "epochs = 500"))
    command = ["-m", "scalenet_training", "study", str(file), "--workdir"]
    command.append(str(tmp_path / "runs"))
    process = start(command)
    metrics = tmp_path / "runs" / "seed-0" / "metrics.csv"
    while not metrics.exists():
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.Signals[name])
    output = finish(process, code=128 + signal.Signals[name])
    assert "saved" in output
    rows = len(metrics.read_text().splitlines())
    time.sleep(2)
    assert len(metrics.read_text().splitlines()) == rows < 500
