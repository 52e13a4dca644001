"""Recipes as files, presets that fit the data, and which of the options wins."""

import dataclasses
import json
import pathlib
import shlex
import tomllib
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_folders import make
from records import record
from scalenet_training.cli.recipes import TrainingCommand, parse_training
from scalenet_training.cli.running import run
from scalenet_training.data.sources import open_source
from scalenet_training.recipes.facts import Facts, facts_of_files
from scalenet_training.recipes.fit import FITTED, fitted, native
from scalenet_training.recipes.presets import PRESETS, options_of
from scalenet_training.recipes.recipe import read_recipe
from scalenet_training.settings.base import fields_of
from scalenet_training.settings.inputs import NETWORKS
from scalenet_training.settings.training import PresetName, TrainConfig

import scalenet_tf

ROOT = pathlib.Path(__file__).parent.parent
SHIPPED = ROOT / "training/scalenet_training/recipes/shipped"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def decided(line):
    """The settings of a command line, and what is said of them."""
    command = TrainingCommand(TrainConfig, lambda config: config.run_folder)
    return parse_training(command, "Trains.", shlex.split(line), "train.py")


def refused(line, capsys):
    """The message of a command line that is refused."""
    with pytest.raises(SystemExit) as left:
        run(lambda: decided(line), (TrainConfig,), shlex.split(line))
    assert left.value.code == 2
    return capsys.readouterr().err


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
            cells.append(" ".join(map(str, listed)))
        lines.append(f"| `{field}` | {' | '.join(cells)} |")
    assert "\n".join(lines) in page
    for preset in PRESETS.values():
        assert preset.recipe.about.source in page
        assert preset.command.replace("python training/train.py", "train") in page


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


@pytest.mark.parametrize(
    ("line", "preset", "reason"),
    [
        ("", "digits", "since no --dataset is given"),
        ("--dataset digits", "digits", "that of --dataset digits"),
        ("--dataset cifar100", "cifar100", "that of --dataset cifar100"),
        ("--dataset=imagenet2012", "imagenet", "that of --dataset imagenet2012"),
        ("--dataset mnist", "digits", "since mnist has none of its own"),
        ("--dataset ./photos", "photos", "for a folder or a manifest without --weigh"),
        (
            "--dataset photos --weights a.keras",
            *("finetune", "for a folder or a manifest with --weights: 10 training"),
        ),
        ("--dataset photos --preset digits", "digits", "as given"),
    ],
)
def test_the_data_choose_the_preset(line, preset, reason, here):
    make(here / "photos")
    (here / "a.keras").touch()
    config, said = decided(line)
    assert config.preset == preset
    assert said.startswith(f"Preset {preset}, {reason}")


def test_a_preset_for_ones_own_images_wants_a_dataset(here, capsys):
    message = refused("--preset photos", capsys)
    assert "error: --dataset must be given for --preset photos: a folder" in message


def test_small_images_stay_small_and_the_lines_say_what_follows(here):
    make(here / "photos", count=40)
    config, said = decided("--dataset photos --momentum 0.8")
    assert {name: getattr(config, name) for name in FITTED} == {
        **{"model": "ScaleNetCifar38", "image_size": 32, "eval_resize": 32},
        **{"augment": "crop-flip", "batch_size": 4, "warmup_epochs": 5.0},
        **{"learning_rate": 0.0125 / 8, "epochs": 120},
    }
    assert config.momentum == 0.8
    facts, by_data, by_preset = said.splitlines()
    size = open_source("photos", None, False).open_split("train").size
    assert f"{size} training images of 2 classes, shorter sides of 8 to 8" in facts
    assert by_data == (
        "From the images: --model ScaleNetCifar38 --image-size 32 --eval-resize 32 "
        "--augment crop-flip --batch-size 4 --learning-rate 0.0015625"
    )
    assert by_preset.startswith("From the preset: --normalization imagenet --epochs")


LARGE = Facts(10_000, 10, (200, 300, 400))
TINY_IMAGES = Facts(10_000, 10, (28, 48, 60))


@pytest.mark.parametrize(
    ("facts", "free", "changes", "expected"),
    [
        (LARGE, FITTED, {}, ("ScaleNet50Light", 224, 256, "resized-crop")),
        (TINY_IMAGES, FITTED, {}, ("ScaleNetCifar38", 48, 48, "crop-flip")),
        (None, FITTED, {}, ("ScaleNet50Light", 224, 256, "resized-crop")),
        (
            TINY_IMAGES,
            FITTED,
            {"weights": "a.keras"},
            ("ScaleNet50Light", 224, 224, "crop-flip"),
        ),
        (
            LARGE,
            FITTED[1:],
            {"model": "ResNetCifar38"},
            ("ResNetCifar38", 32, 37, "resized-crop"),
        ),
        (
            LARGE,
            FITTED[1:],
            {"model": "a.json"},
            ("a.json", None, None, "resized-crop"),
        ),
        (
            LARGE,
            ("model", "eval_resize", "augment"),
            {"image_size": 112},
            ("ScaleNet50Light", 112, 128, "resized-crop"),
        ),
    ],
)
def test_network_and_sizes_follow_from_the_images(facts, free, changes, expected):
    preset = PRESETS["photos"]
    config = dataclasses.replace(preset.config, **changes)
    made = fitted(config, preset.config, preset.recipe.fit, facts, free)
    assert (made.model, made.image_size, made.eval_resize, made.augment) == expected


@given(st.integers(1, 10**6), st.sampled_from(["photos", "finetune"]))
def test_a_batch_is_part_of_the_images_and_a_run_has_enough_steps(images, name):
    preset = PRESETS[name]
    rule, facts = preset.recipe.fit, Facts(images, 2, (300,))
    made = fitted(preset.config, preset.config, rule, facts, FITTED)
    assert made.batch_size.bit_count() == 1 or made.batch_size == images
    assert made.batch_size <= min(images, 32)
    assert made.batch_size <= max(4, rule.share * images)
    assert made.epochs * (images // made.batch_size) >= rule.steps
    assert made.epochs >= preset.config.epochs
    rate = preset.config.learning_rate * made.batch_size / preset.config.batch_size
    assert made.learning_rate == rate


def test_what_is_given_is_not_fitted():
    preset = PRESETS["photos"]
    config = dataclasses.replace(preset.config, batch_size=64, epochs=1)
    free = set(FITTED) - {"batch_size", "epochs"}
    made = fitted(config, preset.config, preset.recipe.fit, LARGE, free)
    assert (made.batch_size, made.learning_rate) == (64, 0.025)
    assert (made.epochs, made.warmup_epochs) == (1, 0.1)


def test_native_sizes_are_those_of_the_networks():
    for name in NETWORKS:
        assert native(name) == scalenet_tf.get_architecture(name).native_size
    assert native("seed:scalenet50") == 224
    assert native("my.json") is None


def test_facts_are_those_of_the_split_that_is_trained_on(here):
    make(here / "photos", count=30)
    source = open_source("photos", None, False)
    for split in ("train", "train[:7]", "all"):
        facts = facts_of_files("photos", split)
        assert facts.images == source.open_split(split).size
        assert (facts.classes, facts.side) == (2, 8)
    (here / "photos/a/x.png").write_text("no image")
    assert facts_of_files("photos", "all").images == 61
    with pytest.raises(ValueError, match="`train_split`: no split 'tra'"):
        facts_of_files("photos", "tra")


def begin(config):
    """Leaves what a run of these settings would have begun with."""
    folder = pathlib.Path(config.run_folder)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(record(config).to_json()))


def test_a_repeated_command_keeps_what_the_run_began_with(here):
    make(here / "photos", count=40)
    before, _ = decided("--dataset photos")
    begin(before)
    make(here / "photos", count=400)
    after, said = decided("--dataset photos")
    assert after == before
    assert f"From the run in '{before.run_folder}': --model ScaleNetCifar38" in said
    elsewhere, _ = decided("--dataset photos --workdir new")
    assert elsewhere.batch_size == 32
    more, _ = decided("--dataset photos --epochs 500")
    assert more == dataclasses.replace(before, epochs=500)


def test_a_run_that_was_tried_out_goes_on_to_the_epochs_of_its_preset(here):
    make(here / "photos", count=40)
    begin(decided("--dataset photos --epochs 1")[0])
    config, _ = decided("--dataset photos")
    assert (config.epochs, config.warmup_epochs) == (120, 0.1)


def test_a_run_of_an_earlier_version_goes_on_by_the_preset_of_then(here):
    make(here / "photos", count=40)
    for dataset in ("photos", "cifar10"):
        begin(TrainConfig(dataset=dataset))
        config, said = decided(f"--dataset {dataset}")
        assert config == TrainConfig(dataset=dataset)
        assert said.startswith("Preset digits, as the run in the folder has it.")
        assert decided(f"--dataset {dataset} --workdir new")[0].preset == dataset


def test_options_of_fitted_settings_give_them_back_on_other_data(here):
    make(here / "photos", count=40)
    before, _ = decided("--dataset photos --batch-size 32 --workdir a")
    make(here / "photos", count=200)
    line = shlex.join([*options_of(before), "--workdir", "a"])
    assert decided(line)[0] == before
