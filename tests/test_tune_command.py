"""What the search command refuses, before it writes anything."""

import json

import image_folders as images
import pytest
import tensorflow as tf
from scalenet_training.cli.recipes import TrainingCommand, parse_training
from scalenet_training.recipes.presets import options_of
from scalenet_training.settings.training import TrainConfig
from scalenet_training.tune.config import TuneConfig
from test_commands import in_process

pytest.importorskip("keras_tuner")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("TUNER_ID", "ORACLE_IP", "ORACLE_PORT"):
        monkeypatch.delenv(f"KERASTUNER_{name}", raising=False)


BAD = [
    (["--tuner", "grid"], "Expected one of ('random', 'hyperband', 'bayesian')"),
    (["--max-trials", "0"], "--max-trials must be more than 0. Received: 0"),
    (["--epochs", "0"], "--epochs must be more than 0"),
    (["--batch-size", "0"], "--batch-size must be more than 0"),
    (["--target-macs", "lots"], "--target-macs must be 'twin'"),
    (
        ["--target-macs", "1e3"],
        "--target-macs must be from 16,958,976 to 91,343,360, what "
        "ScaleNetCifar38 can cost with 10 classes. Received: 1,000.",
    ),
    (["--budgets", "1x", "9x"], "--budgets 9x: --target-macs must be from 16,958"),
    (["--budgets", "1x", "twin"], "--budgets must be different from each other"),
    (
        ["--budgets", "1x", "--target-macs", "1x"],
        "--budgets and --target-macs exclude each other",
    ),
    (
        ["--depth", "2", "9"],
        "--depth must be None or a range of two "
        "ascending numbers of bottlenecks, from 3, the number of stages.",
    ),
    (["--learning-rate", "0", "1"], "--learning-rate must be two ascending numbers"),
    (["--label-smoothing", "0", "1"], "--label-smoothing must be two ascending"),
    (["--model", "VGG16"], "--model must be one of ScaleNetCifar38"),
    (["--dataset", "./none"], "--dataset must be digits, a name of"),
    (["--eval-split", "none"], "--eval-split: no split 'none' in digits"),
    (["--train-split", "train[:9]"], "--batch-size must be at most the 9 examples"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=str)
def test_bad_input_ends_with_a_line_and_2_and_writes_nothing(
    options, message, tmp_path, monkeypatch, capsys
):
    assert in_process(monkeypatch, "tune.py", *options) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_of_another_search_is_refused_and_kept(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "runs" / "tune-digits-ScaleNetCifar38"
    folder.mkdir(parents=True)
    text = json.dumps(TuneConfig(epochs=7).space())
    (folder / "search.json").write_text(text)
    assert in_process(monkeypatch, "tune.py") == 2
    error = capsys.readouterr().err
    assert "holds a search of another space: epochs (7 there, 5 now)" in error
    assert [path.name for path in folder.iterdir()] == ["search.json"]
    assert (folder / "search.json").read_text() == text


def test_several_processes_share_one_target_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    assert in_process(monkeypatch, "tune.py") == 2
    assert "KERASTUNER_ORACLE_PORT. Received: KERASTUNER" in capsys.readouterr().err
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "1")
    assert in_process(monkeypatch, "tune.py", "--budgets", "1x", "0.5x") == 2
    assert "--budgets: several processes can share" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_bug_comes_out_as_itself(monkeypatch):
    def run(self, role, call):
        raise ValueError("shapes do not fit")

    monkeypatch.setattr("scalenet_training.tune.search.Search.run", run)
    with pytest.raises(ValueError, match=r"^shapes do not fit$"):
        in_process(monkeypatch, "tune.py", "--eval-split", "validation[:9]")


def test_the_process_that_chooses_trials_leaves_the_gpus_to_them(monkeypatch):
    seen = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda *a: seen.append(a))
    assert in_process(monkeypatch, "tune.py", "--train-split", "none") == 2
    assert seen == [([], "GPU")]


@pytest.mark.parametrize("dataset", ["photos", "digits", "cifar10", "imagenet2012"])
def test_the_command_for_a_longer_training_is_that_of_the_trial(dataset, here):
    """With what a preset that is chosen by the data would change."""
    images.make(here / "photos")
    trial = {"learning_rate": 0.0123456789, "weight_decay": 1e-3}
    config = TuneConfig(dataset=dataset, augment="crop", image_size=64, batch_size=32)
    longer = config.longer("ResNetCifar38", trial)
    command = TrainingCommand(TrainConfig, lambda config: config.run_folder)
    parsed, _ = parse_training(command, "", options_of(longer), "train")
    assert parsed == longer
    trained = config.train_config(model="ResNetCifar38", **trial)
    differing = {n for n, v in vars(trained).items() if v != getattr(longer, n)}
    assert differing == {
        *("schedule", "milestones", "warmup_epochs", "checkpoints_kept")
    }


def test_a_search_has_a_folder_and_targets_of_its_own():
    config = TuneConfig(dataset="photos/")
    assert config.search_folder == "runs/tune-photos-ScaleNetCifar38"
    assert TuneConfig(workdir="here").search_folder == "here"
    assert TuneConfig().targets == ("twin",)
    assert TuneConfig(budgets=("0.5x", "1x")).targets == ("0.5x", "1x")
