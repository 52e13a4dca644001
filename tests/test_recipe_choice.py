"""Which preset the data choose, what follows from the images, what a run keeps."""

import dataclasses
import json
import pathlib
import shlex

import pytest
from command_lines import decided, refused
from hypothesis import given
from hypothesis import strategies as st
from image_folders import make
from records import record
from scalenet_training.data.sources import open_source
from scalenet_training.recipes.facts import Facts, facts_of_files
from scalenet_training.recipes.fit import FITTED, fitted, native
from scalenet_training.recipes.presets import PRESETS, options_of
from scalenet_training.settings.inputs import NETWORKS
from scalenet_training.settings.training import TrainConfig

import scalenet_tf


@pytest.mark.parametrize(
    ("line", "preset", "reason"),
    [
        ("", "digits", "since no --dataset is given"),
        ("--dataset digits", "digits", "that of --dataset digits"),
        ("--dataset cifar100", "cifar100", "that of --dataset cifar100"),
        ("--dataset cifar10:3.0.2", "cifar10", "that of --dataset cifar10:3.0.2"),
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
        **{"learning_rate": 0.0125 / 8, "epochs": 120, "normalization": "imagenet"},
        "zero_init_residual": True,
    }
    assert config.momentum == 0.8
    facts, by_data, by_preset = said.splitlines()
    size = open_source("photos", None, False).open_split("train").size
    assert f"{size} training images of 2 classes, shorter sides of 8 to 8" in facts
    assert by_data == (
        "From the images: --model ScaleNetCifar38 --image-size 32 --eval-resize 32 "
        "--augment crop-flip --batch-size 4 --learning-rate 0.0015625"
    )
    assert by_preset.startswith(
        "From the preset: --zero-init-residual --normalization imagenet --epochs"
    )


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


def test_a_run_from_before_branches_began_at_zero_goes_on_without(here):
    make(here / "photos", count=40)
    before = dataclasses.replace(
        decided("--dataset photos")[0], zero_init_residual=False
    )
    begin(before)
    assert decided("--dataset photos")[0] == before


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


def test_weights_of_a_run_bring_its_network_and_its_images(here):
    make(here / "photos", count=40)
    begin(TrainConfig(model="ResNetCifar56", image_size=48, workdir="a"))
    (here / "a/best.keras").touch()
    config, said = decided("--dataset photos --weights a/best.keras")
    assert (config.model, config.image_size) == ("ResNetCifar56", 48)
    assert (config.normalization, config.learning_rate) == ("centered", 0.005 / 8)
    assert "From the images and the run of the weights: --model ResNetCifar56" in said
    line = "--dataset photos --weights a/best.keras --model ResNet50"
    assert decided(line)[0].image_size == 224


def test_branches_begin_at_zero_without_weights_alone(here):
    make(here / "photos", count=40)
    begin(TrainConfig(workdir="a"))
    (here / "a/best.keras").touch()
    for line, expected in (
        ("", True),
        ("--no-zero-init-residual", False),
        ("--preset photos --weights a/best.keras", False),
        ("--weights a/best.keras", False),
    ):
        config, _ = decided(f"--dataset photos {line}")
        assert config.zero_init_residual == expected, line


def test_options_of_fitted_settings_give_them_back_on_other_data(here):
    make(here / "photos", count=40)
    before, _ = decided("--dataset photos --batch-size 32 --workdir a")
    make(here / "photos", count=200)
    line = shlex.join([*options_of(before), "--workdir", "a"])
    assert decided(line)[0] == before


def test_a_folder_that_begins_with_a_dash_is_no_option(here):
    options = options_of(TrainConfig(workdir="-d"))
    assert options[-2:] == ["--workdir", "./-d"]
    assert decided(shlex.join(options))[0].workdir == "./-d"
