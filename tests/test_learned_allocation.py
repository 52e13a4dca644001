import dataclasses
import json
import math
import os
import pathlib
import shlex
import shutil

import numpy as np
import pytest
import tyro
from conftest import TINY_CIFAR
from processes import ROOT, TRAINING, finish_all, start_workers
from scalenet_training.allocate.config import AllocateConfig
from scalenet_training.allocate.costs import Runtime
from scalenet_training.allocate.learning import learn_allocation, read_seed
from scalenet_training.allocate.report import print_allocation, training_command
from scalenet_training.errors import RunError, UsageError
from scalenet_training.networks.figures import plot_allocations
from scalenet_training.networks.starting_point import resolve_architecture
from scalenet_training.recipes.presets import PRESETS, options_of
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.loop import train_and_evaluate

import scalenet_tf
from scalenet_tf import allocation

pytestmark = pytest.mark.runs

SEED = allocation.seed_architecture(TINY_CIFAR)
QUICK = {"train_split": "train[:320]", "eval_split": "validation[:32]", "epochs": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the tiny network and two runs of its seed network, a and b."""
    folder = tmp_path_factory.mktemp("allocation")
    path = folder / "tiny.json"
    path.write_text(json.dumps(TINY_CIFAR.to_record()))
    for seed, name in enumerate("ab"):
        config = TrainConfig(model=f"seed:{path}", seed=seed, gamma_l1=1e-4, **QUICK)
        train_and_evaluate(config, str(folder / name))
    return folder


@pytest.fixture
def settings(folder, tmp_path):
    """Settings that allocate from run a, with all that they write in a new folder."""
    config = TrainConfig(model=str(folder / "tiny.json"), **QUICK)
    run = str(folder / "a")
    return AllocateConfig(
        train=config, seed_run=run, output=str(tmp_path / "found.json")
    )


def test_a_trained_seed_gives_the_file_that_commands_read(settings, folder, tmp_path):
    learned = learn_allocation(settings)
    found, seed = learned.found, read_seed(str(folder / "a"))
    assert learned.correlation is None
    assert seed.architecture == SEED
    expected = allocation.allocate_for_macs(
        SEED, seed.importance, TINY_CIFAR.twin().macs(10), classes=10
    )
    assert found == dataclasses.replace(
        expected,
        architecture=dataclasses.replace(expected.architecture, learned_on="digits"),
    )
    assert 0 <= found.gap <= 0.03
    path = tmp_path / "found.json"
    assert resolve_architecture(str(path)) == found.architecture
    assert scalenet_tf.load_architecture(path) == found.architecture
    provenance = json.loads(path.read_text())["provenance"]
    assert provenance["macs"] == found.architecture.macs(10)
    assert provenance["target_macs"] == TINY_CIFAR.twin().macs(10)
    assert provenance["gap"] == found.gap
    assert provenance["ratio"] == str(found.ratio)
    assert provenance["classes"] == 10
    assert provenance["seed_run"]["training_examples"] == 320
    run = provenance["seed_run"]["config"]
    assert run["gamma_l1"] == 1e-4
    assert not {"workdir", "data_dir"} & run.keys()
    assert provenance["versions"]["scalenet_tf"] == scalenet_tf.__version__
    assert (tmp_path / "found.png").read_bytes()[:4] == b"\x89PNG"
    assert sorted(os.listdir(tmp_path)) == ["found.json", "found.png"]


def test_a_seed_that_was_stopped_while_it_evaluated_leaves_json(
    settings, folder, tmp_path
):
    """The speed of that epoch is not known, and JSON has no NaN."""
    shutil.copytree(folder / "a", tmp_path / "a")
    run = RunFolder(tmp_path / "a")
    run.write_row({**run.rows()[-1], "images_per_second": math.nan})
    learn_allocation(dataclasses.replace(settings, seed_run=run.path))
    text = (tmp_path / "found.json").read_text()
    content = json.loads(text, parse_constant=pytest.fail)
    metrics = content["provenance"]["seed_run"]["metrics"]
    assert "images_per_second" not in metrics
    assert metrics["val_top1_error"] == run.rows()[-1]["val_top1_error"]


def test_the_same_settings_replace_the_file_and_others_do_not(settings, tmp_path):
    learn_allocation(settings)
    before = (tmp_path / "found.json").read_bytes()
    learn_allocation(settings)
    assert (tmp_path / "found.json").read_bytes() == before
    other = dataclasses.replace(settings, target_macs="0.9x")
    with pytest.raises(UsageError, match=r"`output` .* exists.*'twin'.*'0\.9x'"):
        learn_allocation(other)
    (tmp_path / "found.json").write_text("mine")
    with pytest.raises(UsageError, match=r"exists.*it is no allocation"):
        learn_allocation(settings)
    assert (tmp_path / "found.json").read_text() == "mine"


def test_what_another_seed_run_gave_is_not_replaced(settings, folder, tmp_path):
    learn_allocation(settings)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = dataclasses.replace(settings, seed_run=str(folder / "b"))
    message = r"exists, and was made from another seed network: seed \(0 then, 1 now\)"
    with pytest.raises(UsageError, match=message):
        learn_allocation(other)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    content = json.loads(before["found.json"])
    content["provenance"]["seed_run"]["config"].pop("gamma_l1")  # as older versions
    (tmp_path / "found.json").write_text(json.dumps(content))
    learn_allocation(settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"must be a run of another `seed` than the seed network's, 0\. Received"),
        (
            {"train_split": "train[:160]"},
            r"train_split \('train\[:160\]' there, 'train\[:320\]' now",
        ),
    ],
)
def test_only_another_run_on_the_same_data_is_compared(
    settings, folder, tmp_path, changes, message
):
    other = folder / "a"
    if changes:
        other = tmp_path / "other"
        shutil.copytree(folder / "b", other)
        text = json.loads((other / "config.json").read_text())
        text["config"].update(changes)
        (other / "config.json").write_text(json.dumps(text))
    with pytest.raises(UsageError, match=r"`compare_with` .*" + message):
        learn_allocation(dataclasses.replace(settings, compare_with=str(other)))
    assert not os.path.exists(settings.output)


def test_a_correlation_that_is_not_a_number_is_null(
    settings, folder, tmp_path, monkeypatch
):
    """Of a block that has one neuron, say: JSON has no NaN."""
    found = allocation.RankCorrelation((math.nan, 0.5), math.nan)
    monkeypatch.setattr(allocation, "rank_correlation", lambda *_: found)
    learn_allocation(dataclasses.replace(settings, compare_with=str(folder / "b")))
    text = (tmp_path / "found.json").read_text()
    content = json.loads(text, parse_constant=pytest.fail)
    recorded = content["provenance"]["rank_correlation"]
    assert recorded == {"blocks": [None, 0.5], "overall": None}


def test_two_seed_networks_are_compared(settings, folder, tmp_path):
    other = str(folder / "b")
    learned = learn_allocation(dataclasses.replace(settings, compare_with=other))
    expected = allocation.rank_correlation(
        *(read_seed(str(folder / name)).importance for name in "ab")
    )
    assert learned.correlation == expected
    assert -1 < expected.overall < 1
    recorded = json.loads((tmp_path / "found.json").read_text())["provenance"]
    assert recorded["rank_correlation"]["overall"] == expected.overall


@pytest.mark.parametrize("criterion", ["block", "global"])
def test_targets_are_ratios_of_the_twin_or_numbers(settings, criterion, tmp_path):
    twin = TINY_CIFAR.twin().macs(10)
    found = []
    for index, text in enumerate(["0.9x", str(0.9 * twin)]):
        changed = dataclasses.replace(
            settings,
            target_macs=text,
            criterion=criterion,
            output=str(tmp_path / f"{index}.json"),
        )
        found.append(learn_allocation(changed).found)
    assert found[0] == found[1]
    assert found[0].macs <= 0.9 * twin


def test_the_seed_network_is_trained_and_then_read(settings, tmp_path, capfd):
    config = dataclasses.replace(settings.train, workdir=str(tmp_path / "run"))
    training = dataclasses.replace(settings, train=config, seed_run=None, output=None)
    first = learn_allocation(training).found
    assert "TinyCifarSeed on digits" in capfd.readouterr().out
    path = tmp_path / "run/allocation.json"
    assert scalenet_tf.load_architecture(path) == first.architecture
    assert learn_allocation(training).found == first
    assert "Epoch" not in capfd.readouterr().out


def test_targets_out_of_range_are_refused_before_the_training(settings, tmp_path):
    config = dataclasses.replace(settings.train, workdir=str(tmp_path / "run"))
    for text in ("0.1x", "1e9"):
        training = dataclasses.replace(
            settings, train=config, seed_run=None, output=None, target_macs=text
        )
        with pytest.raises(UsageError, match=r"`target_macs` must be from 9\d\d,"):
            learn_allocation(training)
    assert not list(tmp_path.iterdir())


def test_a_target_that_the_learned_ranking_cannot_reach_names_the_range(settings):
    low = dataclasses.replace(settings, target_macs="0.1x")
    with pytest.raises(UsageError, match="`target_macs` must be from"):
        learn_allocation(low)


def untrained_run(folder, tmp_path):
    """A run whose network is as it was before its first step."""
    run = shutil.copytree(folder / "a", tmp_path / "untrained")
    scalenet_tf.ScaleNet(SEED, classes=10).save(run / "last.keras")
    return str(run)


def test_a_seed_that_has_not_learned_is_refused(settings, folder, tmp_path):
    run = untrained_run(folder, tmp_path)
    with pytest.raises(UsageError, match="does not tell the neurons of a block apart"):
        learn_allocation(dataclasses.replace(settings, seed_run=run))
    assert not os.path.exists(settings.output)


def test_a_training_too_short_to_rank_is_an_error_that_keeps_the_run(
    settings, tmp_path
):
    config = dataclasses.replace(
        settings.train, workdir=str(tmp_path / "run"), max_steps=1
    )
    with pytest.raises(RunError, match="does not tell the neurons of a block apart"):
        learn_allocation(dataclasses.replace(settings, train=config, seed_run=None))
    assert (tmp_path / "run/last.keras").exists()
    assert not os.path.exists(settings.output)


def test_runs_that_have_not_ended_are_refused(settings, folder, tmp_path):
    run = shutil.copytree(folder / "a", tmp_path / "half")
    rows = (run / "metrics.csv").read_text().splitlines()
    (run / "metrics.csv").write_text("\n".join(rows[:2]) + "\n")
    half = dataclasses.replace(settings, seed_run=str(run))
    with pytest.raises(UsageError, match="has finished 1 of 2 epochs: resume"):
        learn_allocation(half)
    with pytest.raises(UsageError, match=r"is no run's config\.json"):
        learn_allocation(dataclasses.replace(settings, seed_run=str(tmp_path)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_macs": "two"}, r"`target_macs` must be 'twin'.*Received: 'two'"),
        ({"target_macs": "-1x"}, r"`target_macs` must be .*Received: '-1x'"),
        ({"minimum": -1}, r"`minimum` must be 0 or more\. Received: -1"),
        (
            {"target_latency": "fast"},
            r"`target_latency` must be 'twin' .*such as 12\.5",
        ),
        ({"target_latency": "9", "target_macs": "1x"}, "must stand without `target_ma"),
        ({"target_latency": "9", "criterion": "global"}, "and `criterion`. Received"),
        ({"threads": 0}, "`threads` must be more than 0"),
        ({"runtime": "onnx"}, "`runtime` must stand with `target_latency`.*'onnx' alo"),
        ({"output": "a.png"}, r"`output` must end in \.json\. Received: 'a\.png'"),
    ],
)
def test_unfit_settings_are_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        AllocateConfig(train=TrainConfig(), **changes)


def test_an_output_folder_must_exist(settings, tmp_path):
    missing = str(tmp_path / "none/a.json")
    with pytest.raises(UsageError, match=r"`output` must be in a folder that exists"):
        learn_allocation(dataclasses.replace(settings, output=missing))


def test_the_even_split_of_the_results_is_what_they_say():
    seed = resolve_architecture("seed:ScaleNetCifar38")
    falling = [
        {s: np.arange(b.width, 0, -1) for s in seed.scales} for b in seed.blocks()
    ]
    even = allocation.allocate_for_macs(seed, falling, classes=10).architecture
    recorded = resolve_architecture(os.path.join(ROOT, "results/cifar10/even.json"))
    assert recorded.allocation == even.allocation
    assert recorded.macs(10) == 56_711_680


def test_seed_networks_have_names():
    assert resolve_architecture("seed:ScaleNetCifar38") == allocation.seed_architecture(
        scalenet_tf.get_architecture("ScaleNetCifar38")
    )
    with pytest.raises(ValueError, match="two scales or more"):
        resolve_architecture("seed:ResNet50")
    config = AllocateConfig(train=TrainConfig(model="a/b.json"))
    assert config.output_file == "runs/digits-bSeed/allocation.json"
    assert config.seed_config.model == "seed:a/b.json"


def test_the_command_to_train_is_the_recipe_of_the_seed(settings, folder, monkeypatch):
    monkeypatch.setattr("sys.argv", ["training/allocate.py"])
    learned = learn_allocation(settings)
    command = training_command(learned.architecture, settings.output, str(folder / "a"))
    assert command[:2] == ["python", "training/train.py"]
    config = tyro.cli(TrainConfig, args=command[2:])
    assert config == TrainConfig(
        model=settings.output, workdir="runs/digits-TinyCifarAllocated", **QUICK
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_options_give_the_settings_back(preset):
    before = dataclasses.replace(
        PRESETS[preset].config,
        decay_all=True,
        ema=0.99,
        milestones=(0.25, 0.5),
        max_steps=3,
        workdir="a b",
    )
    line = shlex.split(shlex.join(options_of(before)))
    assert tyro.cli(TrainConfig, default=PRESETS[preset].config, args=line) == before
    assert options_of(PRESETS[preset].config)[:2] == ["--preset", preset]


@pytest.mark.parametrize("preset", ["digits", "cifar10", "cifar100", "imagenet"])
def test_a_preset_that_depends_on_no_data_is_an_option_alone(preset):
    assert options_of(PRESETS[preset].config) == ["--preset", preset]


def test_the_chart_has_a_bar_for_each_scale_of_each_block(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    bar = Axes.bar
    monkeypatch.setattr(
        Axes,
        "bar",
        lambda axes, places, heights, *rest, **more: (
            drawn.append((list(more["bottom"]), list(heights))),
            bar(axes, places, heights, *rest, **more),
        ),
    )
    networks = [TINY_CIFAR, scalenet_tf.get_architecture("ScaleNet50")]
    plot_allocations({n.name: n for n in networks}, str(tmp_path / "a.png"))
    assert len(drawn) == 3 + 4
    bottoms, heights = zip(*drawn[:3], strict=True)
    np.testing.assert_allclose(heights, [[3 / 6, 5 / 9], [2 / 6, 4 / 9], [1 / 6, 0]])
    np.testing.assert_allclose(bottoms, [[0, 0], [3 / 6, 5 / 9], [5 / 6, 1]])


@pytest.mark.processes
def test_in_a_cluster_the_chief_alone_allocates(folder, tmp_path):
    options = ["--model", str(folder / "tiny.json"), "--workdir", str(tmp_path / "run")]
    options += ["--train-split", "train[:320]", "--eval-split", "validation[:32]"]
    arguments = [os.path.join(TRAINING, "allocate.py"), *options, "--epochs", "2"]
    chief, worker = finish_all(start_workers(arguments))
    assert "Written:" in chief
    assert "Written:" not in worker
    network = scalenet_tf.load_architecture(tmp_path / "run/allocation.json")
    assert network.learned_on == "digits"


@pytest.fixture
def fast(settings, tmp_path):
    """Settings of an allocation by time, that are quick to measure."""
    pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
    return dataclasses.replace(
        settings,
        target_latency="1000",  # ms: times of so small networks are noise
        runtime="onnx",
        threads=1,
        latency_rounds=2,
        cost_table=str(tmp_path / "costs.json"),
    )


def written(settings):
    """Writes a table of costs as if it had been measured for the settings."""
    branches = [
        [[(n, 0.1 + 0.01 * n) for n in (1, width)] for _ in SEED.scales]
        for width in SEED.stage_widths
    ]
    about = Runtime(SEED, settings, classes=10).about()
    # The twin: 4 and 8 neurons at the finest scale.
    table = allocation.CostTable(1.0, branches, 1.0 + 0.14 + 0.18, about)
    pathlib.Path(settings.cost_file).write_text(json.dumps(table.to_json()))
    return table


def test_a_time_in_place_of_macs(fast, tmp_path, capsys):
    table = written(fast)
    learned = learn_allocation(fast)
    timed = learned.found
    assert timed.costs.to_json() == table.to_json()
    assert (timed.target, timed.meets) == (1000, True)
    assert timed.found.milliseconds == pytest.approx(
        table.milliseconds(learned.architecture), rel=1e-12
    )
    assert learned.architecture.allocation == SEED.allocation
    record = json.loads((tmp_path / "found.json").read_text())["provenance"]
    assert record["measured_milliseconds"] == timed.milliseconds > 0
    assert record["predicted_milliseconds"] == timed.found.milliseconds
    assert record["target_milliseconds"] == 1000
    assert record["costs"]["runtime"] == "onnx"
    assert record["macs"] == learned.architecture.macs(10)
    print_allocation(learned)
    assert "ms measured" in capsys.readouterr().out


@pytest.mark.slow
def test_costs_are_measured_where_there_is_no_table(fast, tmp_path):
    learned = learn_allocation(fast)
    path = tmp_path / "costs.json"
    table = allocation.CostTable.from_json(json.loads(path.read_text()))
    assert learned.found.costs.to_json() == table.to_json()
    for width, stage in zip(SEED.stage_widths, table.branches, strict=True):
        assert {tuple(n for n, _ in branch) for branch in stage} == {
            (1, width // 2, width)
        }
        assert len(stage) == len(SEED.scales)
    about = table.about
    assert (about["runtime"], about["batch_size"], about["threads"]) == ("onnx", 1, 1)
    assert about["classes"] == 10
    before = path.read_bytes()
    learn_allocation(fast)
    assert path.read_bytes() == before


def test_an_aim_out_of_reach_leaves_what_was_found(fast, monkeypatch, capsys):
    written(fast)
    monkeypatch.setattr(Runtime, "ratio", lambda *_: 2000.0)  # to the twin's 1.32 ms
    learned = learn_allocation(fast)
    assert (learned.found.milliseconds, learned.found.meets) == (2640, False)
    assert learned.architecture.allocation == SEED.allocation
    monkeypatch.setattr(Runtime, "ratio", lambda *_: 1e6)
    pathlib.Path(fast.output).unlink()
    assert learn_allocation(fast).found.milliseconds == 1.32e6
    print_allocation(learned)
    assert "at most 1000.000, which it does NOT meet" in capsys.readouterr().out


def test_tables_of_other_costs_are_refused(fast, tmp_path):
    written(fast)
    for change, message in (
        (
            {"latency_batch_size": 2},
            r"measured with another batch_size \(1 there, 2 now",
        ),
        ({"runtime": "savedmodel"}, r"another runtime \('onnx' there"),
    ):
        with pytest.raises(UsageError, match=message):
            learn_allocation(dataclasses.replace(fast, **change))
    (tmp_path / "costs.json").write_text("[[[")
    with pytest.raises(UsageError, match=r"`cost_table` .*costs\.json': Expecting"):
        learn_allocation(fast)
    assert not (tmp_path / "found.json").exists()
