"""Settings: bounds, groups of options, and what messages call them."""

import dataclasses
import re
import typing

import pytest
from scalenet_training.allocate.config import AllocateConfig
from scalenet_training.cli.options import parse, with_flags
from scalenet_training.errors import SettingError, UsageError
from scalenet_training.evaluate.config import EvaluateConfig
from scalenet_training.export.config import ExportConfig
from scalenet_training.settings.base import fields_of, groups_of, resumable_fields
from scalenet_training.settings.groups import NormalizationName
from scalenet_training.settings.training import TrainConfig

from scalenet_tf.preprocessing import STATISTICS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be more than 0. Received: 0."),
        ({"seed": -1}, "`seed` must be from 0 to 4294967295. Received: -1."),
        (
            {"seed": 2**32},
            "`seed` must be from 0 to 4294967295. Received: 4294967296.",
        ),
        ({"ema": 1.0}, "`ema` must be from 0 to below 1. Received: 1.0."),
        (
            {"image_size": 0},
            "`image_size` must be a number of pixels from 1 to 4096. Received: 0.",
        ),
        (
            {"milestones": (0.5, 0.2)},
            "`milestones` must be ascending, between 0 and 1. Received: (0.5, 0.2).",
        ),
        (
            {"jit": "yes"},
            "`jit` must be one of ('auto', 'on', 'off'). Received: 'yes'.",
        ),
        ({"ema": float("nan")}, "`ema` must be finite. Received: nan."),
    ],
    ids=str,
)
def test_a_value_out_of_bounds_names_the_field(changes, message):
    with pytest.raises(SettingError) as refused:
        TrainConfig(**changes)
    assert str(refused.value) == message
    assert isinstance(refused.value, UsageError)
    assert isinstance(refused.value, ValueError)


def test_every_field_of_a_training_is_in_one_group():
    grouped = [name for g in groups_of(TrainConfig) for name in fields_of(g)]
    assert sorted(grouped) == sorted(fields_of(TrainConfig))
    assert grouped[:3] == ["preset", "recipe", "model"]


def test_a_run_goes_on_with_another_place_and_length():
    assert resumable_fields(TrainConfig) == {
        *("preset", "recipe", "strategy", "tpu", "virtual_devices", "jit"),
        *("data_dir", "download", "max_steps", "track", "workdir"),
        *("checkpoint_minutes", "checkpoint_steps", "checkpoints_kept"),
    }


def test_normalisations_are_those_of_the_library():
    assert typing.get_args(NormalizationName) == tuple(STATISTICS)


@pytest.mark.parametrize(
    ("kind", "message", "shown"),
    [
        (TrainConfig, "`batch_size` and `epochs`", "--batch-size and --epochs"),
        (AllocateConfig, "`gamma_l1`, `target_macs`", "--gamma-l1, --target-macs"),
        (EvaluateConfig, "`run_or_model` `jit`", "RUN-OR-MODEL --jit"),
        (TrainConfig, "`depth` is no option, `ema", "`depth` is no option, `ema"),
    ],
)
def test_the_command_line_shows_its_options_for_fields(kind, message, shown):
    assert with_flags(message, kind) == shown


def test_the_help_has_a_heading_for_each_group(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    default = AllocateConfig(train=TrainConfig())
    with pytest.raises(SystemExit):
        parse(AllocateConfig, "Allocates.", ["--help"], "allocate.py", default)
    text = capsys.readouterr().out
    assert re.findall(r"^\W+(\w+) options \W+$", text, re.MULTILINE) == [
        *("preset", "network", "data", "augmentation", "storage", "device"),
        *("batch", "loss", "optimisation", "optimiser", "regularisation"),
        *("distillation", "outcome"),
        *("run", "selection", "latency", "allocation"),
    ]
    assert text.count("--batch-size ") == 1


def test_the_help_lists_each_option_once_and_under_a_heading(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        parse(TrainConfig, "Trains.", ["--help"], "train.py", TrainConfig())
    text = capsys.readouterr().out
    listed = re.findall(r"^\W (--[a-z][a-z0-9-]+)[ ,]", text, re.MULTILINE)
    assert listed == [
        f"--{name.replace('_', '-')}"
        for group in groups_of(TrainConfig)
        for name in fields_of(group)
    ]


def test_options_become_flat_settings_again():
    words = [
        "--batch-size",
        "7",
        "--minimum",
        "2",
        "--no-download",
        "--output",
        "a.json",
    ]
    default = AllocateConfig(train=TrainConfig(epochs=3, download=True))
    read = parse(AllocateConfig, "", words, "allocate.py", default)
    assert read == AllocateConfig(
        train=TrainConfig(epochs=3, batch_size=7), minimum=2, output="a.json"
    )


def test_settings_with_fields_outside_of_groups_keep_all_options():
    read = parse(ExportConfig, "", [".", "--name", "a", "--top-k", "3"], "export.py")
    assert read == ExportConfig(".", name="a", top_k=3)
    assert {*fields_of(EvaluateConfig)} == {
        field.name for field in dataclasses.fields(EvaluateConfig)
    }


def test_a_folder_of_data_is_the_same_however_it_is_written(here):
    before = TrainConfig(dataset="photos")
    for name in ("photos/", "./photos", f"{here}/photos"):
        assert not TrainConfig(dataset=name).differences(before)
    assert TrainConfig(dataset="photo").differences(before) == {
        "dataset": ("photos", "photo")
    }
    for name in ("model", "weights", "teacher"):
        before = TrainConfig(**{name: "net.keras"})
        for same in ("./net.keras", f"{here}/net.keras"):
            assert not TrainConfig(**{name: same}).differences(before)
        assert TrainConfig(**{name: "other/net.keras"}).differences(before)
