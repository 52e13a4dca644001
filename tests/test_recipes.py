"""Recipes as files: what is shipped, what is refused, which of the options wins."""

import dataclasses
import json
import pathlib
import tomllib
import typing

import pytest
from command_lines import decided, refused
from records import record
from scalenet_training.recipes.presets import PRESETS
from scalenet_training.recipes.recipe import read_recipe
from scalenet_training.settings.base import fields_of
from scalenet_training.settings.training import PresetName, TrainConfig

ROOT = pathlib.Path(__file__).parent.parent
SHIPPED = ROOT / "training/scalenet_training/recipes/shipped"


CIFAR = {
    **{"augment": "crop-flip", "batch_size": 128, "epochs": 164, "learning_rate": 0.1},
    **{"schedule": "steps", "milestones": (0.5, 0.75), "warmup_epochs": 5.0},
    "weight_decay": 1e-4,
}
NUMBERS = {
    "digits": {},
    "cifar10": {**CIFAR, "dataset": "cifar10", "normalization": "cifar10"},
    "cifar100": {**CIFAR, "dataset": "cifar100", "normalization": "cifar100"},
    "imagenet": {
        **{"model": "ScaleNet50", "dataset": "imagenet2012", "eval_resize": 256},
        **{"augment": "resized-crop", "normalization": "imagenet", "batch_size": 256},
        **{"epochs": 120, "learning_rate": 0.1, "warmup_epochs": 0.0},
        "weight_decay": 1e-4,
    },
}


@pytest.mark.parametrize("name", NUMBERS)
def test_the_published_presets_keep_their_numbers(name):
    expected = TrainConfig(preset=name, **NUMBERS[name])
    assert PRESETS[name].config == expected


def test_every_shipped_recipe_is_a_preset_and_says_where_it_comes_from():
    names = [path.stem for path in SHIPPED.glob("*.toml")]
    assert sorted(names) == sorted(typing.get_args(PresetName)) == sorted(PRESETS)
    for name, preset in PRESETS.items():
        assert all(vars(preset.recipe.about).values()), name
        again = read_recipe(str(SHIPPED / f"{name}.toml"))
        assert TrainConfig(preset=name, **again.options) == preset.config


def _written(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_the_page_has_the_settings_of_the_files():
    page = (ROOT / "docs/recipes.md").read_text()
    used = {key for preset in PRESETS.values() for key in preset.recipe.options}
    lines = [f"| | {' | '.join(PRESETS)} |", "|---" * (len(PRESETS) + 1) + "|"]
    for field in filter(used.__contains__, fields_of(TrainConfig)):
        cells = []
        for name in PRESETS:
            options = tomllib.loads((SHIPPED / f"{name}.toml").read_text())
            value = options.get(field, "")
            listed = value if isinstance(value, list) else [value]
            cells.append(" ".join(map(_written, listed)))
        lines.append(f"| `{field}` | {' | '.join(cells)} |")
    assert "\n".join(lines) in page
    for preset in PRESETS.values():
        assert preset.recipe.about.source in page
        assert f"`{preset.command}`" in page


def test_the_command_line_wins_over_the_recipe_and_the_recipe_over_the_preset(here):
    text = 'preset = "cifar10"\nlearning-rate = 1\nmilestones = [0.3]\nepochs = 9\n'
    (here / "my.toml").write_text(text)
    config, said = decided("--recipe my.toml --epochs 7")
    expected = dataclasses.replace(
        *(PRESETS["cifar10"].config,),
        **{"learning_rate": 1.0, "milestones": (0.3,), "epochs": 7},
        recipe="my.toml",
    )
    assert config == expected
    assert "Preset cifar10, as given." in said
    assert "From the recipe 'my.toml': --learning-rate 1.0 --milestones 0.3\n" in said
    assert decided("--recipe my.toml --preset digits")[0].batch_size == 32


def test_the_config_of_a_run_is_a_recipe_of_what_it_computed(here):
    ran = TrainConfig(
        *("digits", "old.toml"),
        epochs=5,
        ema=0.9,
        seed=3,
        workdir="elsewhere",
        max_steps=7,
        strategy="mirrored",
    )
    (here / "config.json").write_text(json.dumps(record(ran).to_json()))
    config, _ = decided("--recipe config.json --seed 4")
    assert config == TrainConfig(recipe="config.json", epochs=5, ema=0.9, seed=4)


def test_the_config_of_an_old_run_is_a_recipe(written):
    config, _ = decided("--recipe run/config.json --workdir new")
    assert (
        config.model
        == json.loads(pathlib.Path("run/config.json").read_text())["config"]["model"]
    )
    assert config.workdir == "new"


WRONG = {
    "epochz = 3": "there is no option 'epochz'. Did you mean epochs? Allowed: accumu",
    'epochs = "3"': "'epochs' must be a whole number. Received: '3'.",
    "epochs = true": "'epochs' must be a whole number. Received: True.",
    "epochs = 0": "'epochs' must be more than 0. Received: 0.",
    "epochs = 2.5": "'epochs' must be a whole number. Received: 2.5.",
    "learning_rate = nan": "'learning_rate' must be finite. Received: nan.",
    "learning_rate = 1" + "0" * 400: "'learning_rate' is too large.",
    "freeze = 1": "'freeze' must be true or false. Received: 1.",
    'jit = "yes"': "'jit' must be one of ('auto', 'on', 'off'). Received: 'yes'.",
    "milestones = [0.1, 'a']": "'milestones' must be a list, each part a number.",
    'preset = "mnist"': "'preset' must be one of ('digits', 'cifar10',",
    "batch_size = 1\nbatch-size = 2": "'batch_size' is there twice, once with a hy",
    "recipe = 'b.toml'": "there is no option 'recipe'.",
    "about = 3": "'about' must be a table. Received: 3.",
    "[about]\nauthor = 'me'": "[about]: there is no option 'author'. Allowed: comma",
    "[fit]\nshare = 2": "[fit]: 'share' must be above 0, at most 1. Received: 2.0.",
    "epochs = ": "Invalid value (at end of document).",
    "x = " + "[" * 5000: "it is nested too deeply.",
    "# " + "x" * 2**20: "it must have at most 1,048,576 bytes, and has more.",
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:20])
def test_a_wrong_recipe_names_the_file_and_the_key(text, here, capsys):
    (here / "my.toml").write_text(text)
    assert f"error: --recipe 'my.toml': {WRONG[text]}" in refused(
        "--recipe my.toml", capsys
    )
    assert [path.name for path in here.iterdir()] == ["my.toml"]


def test_files_that_are_no_recipe_are_named(here, capsys):
    (here / "latin.toml").write_bytes(b"# caf\xe9\n")
    (here / "run.json").write_text("{}")
    for line, message in (
        ("latin.toml", "'latin.toml': it must be text in UTF-8: 'utf-8' codec"),
        ("run.json", "'run.json': it has no field 'config' with settings."),
        ("latin.tom", "must be a file that exists. Received: 'latin.tom'. Did you"),
        (".", "must be a file that exists. Received: '.'."),
    ):
        assert f"error: --recipe {message}" in refused(f"--recipe {line}", capsys)


def test_what_a_recipe_names_is_looked_for_unless_the_command_line_has_it(here, capsys):
    (here / "my.toml").write_text('model = "ScaleNet5"')
    message = refused("--recipe my.toml", capsys)
    assert "error: --recipe 'my.toml': --model must be one of ScaleNetC" in message
    assert decided("--recipe my.toml --model ResNet50")[0].model == "ResNet50"
