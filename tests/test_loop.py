import csv
import dataclasses
import errno
import functools
import io
import json
import os
import pathlib
import signal
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from command_lines import decided, refused
from conftest import TINY_CIFAR
from PIL import Image
from processes import ROOT
from scalenet_training.cli.output import OutputError, checked_output
from scalenet_training.errors import InterruptedRunError, RunError, UsageError
from scalenet_training.recipes.presets import PRESETS
from scalenet_training.runs import run_folder
from scalenet_training.runs.checkpoints import Checkpoints
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.tracking.epochs import ForwardedEpochs
from scalenet_training.train import loop, progress
from scalenet_training.train.interruption import StopRequest
from scalenet_training.train.loop import train_and_evaluate
from scalenet_training.train.plan import prepare
from scalenet_training.train.progress import ScalarSummaries
from scalenet_training.train.state import RunState

import scalenet_tf
from scalenet_tf.architectures import architecture_from_record
from scalenet_tf.profiling import count_parameters

pytestmark = pytest.mark.runs

DIGITS = PRESETS["digits"].config


@pytest.fixture
def config(tiny_cifar_file):
    """Two epochs of four steps of a tiny network on digits."""
    return dataclasses.replace(
        DIGITS,
        model=tiny_cifar_file,
        train_split="train[:128]",
        eval_split="validation[:50]",
        epochs=2,
    )


def saved_weights(folder, name="last"):
    return keras.saving.load_model(os.path.join(folder, f"{name}.keras")).get_weights()


def assert_same_weights(actual, expected):
    for left, right in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(left, right)


def rows_without_speed(folder):
    with open(os.path.join(folder, "metrics.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]


def test_a_run_goes_on_without_the_weights_that_it_began_with(
    config, tiny_cifar_file, tmp_path, capsys
):
    weights = tmp_path / "start.weights.h5"
    scalenet_tf.ScaleNet(
        scalenet_tf.load_architecture(tiny_cifar_file), classes=10
    ).save_weights(weights)
    config = dataclasses.replace(config, weights=str(weights))
    for steps in (None, 3):
        workdir = str(tmp_path / f"run-{steps}")
        train_and_evaluate(dataclasses.replace(config, max_steps=steps), workdir)
    weights.unlink()
    line = f"--weights {weights} --workdir {tmp_path}/run"
    assert decided(f"{line}-3")[0].weights == str(weights)
    assert "--weights must be a .weights.h5" in refused(f"{line}-new", capsys)
    train_and_evaluate(config, str(tmp_path / "run-3"))
    assert_same_weights(
        saved_weights(tmp_path / "run-3"), saved_weights(tmp_path / "run-None")
    )
    with pytest.raises(UsageError, match="`weights` must be"):
        train_and_evaluate(config, str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_a_run_leaves_metrics_models_curves_and_its_settings(config, tmp_path, capsys):
    row = train_and_evaluate(config, str(tmp_path / "run"))
    files = set(os.listdir(tmp_path / "run"))
    assert files == {
        "best.keras",
        "checkpoints",
        "config.json",
        "curves.png",
        "data.txt",
        "last.keras",
        "metrics.csv",
        "tensorboard",
    }
    rows = rows_without_speed(tmp_path / "run")
    assert [r["epoch"] for r in rows] == ["0", "1"]
    assert {
        "epoch",
        "loss",
        "top1_error",
        "top5_error",
        "val_loss",
        "val_top1_error",
        "val_top5_error",
        "learning_rate",
    } == set(rows[0])
    page = pathlib.Path(ROOT, "docs", "files.md").read_text()
    for name in {*files, *rows[0], "images_per_second"}:
        assert f"`{name}" in page, f"docs/files.md says nothing of {name}"
    assert float(rows[1]["val_loss"]) == row["val_loss"]
    content = json.loads((tmp_path / "run/config.json").read_text())
    assert content["config"]["epochs"] == 2
    assert content["versions"]["keras"] == keras.__version__
    assert content["architecture"]["name"] == "TinyCifar"
    assert content["training_examples"] == 128
    assert content["class_names"] == list("0123456789")
    assert content["data"] == {"kind": "digits"}
    table = (tmp_path / "run/data.txt").read_text()
    assert "1,438         359" in table
    assert table in capsys.readouterr().out
    with Image.open(tmp_path / "run/curves.png") as image:
        assert image.format == "PNG"
    model = keras.saving.load_model(tmp_path / "run/last.keras")
    assert model.layers[-1].activation is keras.activations.softmax


def test_the_same_command_again_changes_nothing(config, tmp_path, capsys):
    first = train_and_evaluate(config, str(tmp_path / "run"))
    before = (tmp_path / "run/last.keras").read_bytes()
    assert train_and_evaluate(config, str(tmp_path / "run")) == first
    assert (tmp_path / "run/last.keras").read_bytes() == before
    assert "Already at step 8 of 8" in capsys.readouterr().out


def test_a_run_stopped_within_an_epoch_goes_on_as_if_undisturbed(config, tmp_path):
    config = dataclasses.replace(config, ema=0.9)
    train_and_evaluate(config, str(tmp_path / "whole"))
    stopped = dataclasses.replace(config, max_steps=6)
    train_and_evaluate(stopped, str(tmp_path / "parts"))
    train_and_evaluate(config, str(tmp_path / "parts"))
    assert_same_weights(
        saved_weights(tmp_path / "parts"), saved_weights(tmp_path / "whole")
    )
    whole = rows_without_speed(tmp_path / "whole")
    assert rows_without_speed(tmp_path / "parts") == whole


def test_a_run_goes_on_with_more_epochs(config, tmp_path, capsys):
    train_and_evaluate(config, str(tmp_path / "run"))
    more = dataclasses.replace(config, epochs=3)
    train_and_evaluate(more, str(tmp_path / "run"))
    assert "Resuming at step 8 of 12" in capsys.readouterr().out
    assert [r["epoch"] for r in rows_without_speed(tmp_path / "run")] == ["0", "1", "2"]


def test_the_best_epoch_is_kept_as_it_was_saved(config, tmp_path):
    train_and_evaluate(dataclasses.replace(config, epochs=1), str(tmp_path / "run"))
    best, last = (tmp_path / f"run/{name}.keras" for name in ("best", "last"))
    assert best.read_bytes() == last.read_bytes()


@pytest.mark.parametrize("flags", [{"avx2"}, {"avx2", "avx512_bf16"}])
def test_a_precision_that_the_processor_lacks_is_said(
    config, flags, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(progress, "processor_flags", lambda: frozenset(flags))
    config = dataclasses.replace(config, mixed_precision="bfloat16", max_steps=1)
    train_and_evaluate(config, str(tmp_path / "run"))
    said = "no instructions for bfloat16: a step may" in capsys.readouterr().out
    assert said is ("avx512_bf16" not in flags)


@pytest.mark.slow
def test_two_replicas_with_xla_learn_and_evaluate_every_example(config, tmp_path):
    config = dataclasses.replace(
        config, virtual_devices=2, jit="on", ema=0.9, max_steps=5
    )
    row = train_and_evaluate(config, str(tmp_path / "run"))
    content = json.loads((tmp_path / "run/config.json").read_text())
    assert (content["replicas"], content["xla"]) == (2, True)
    assert np.isfinite(row["val_loss"])
    assert round(row["val_top1_error"] * 50, 6) % 1 == 0


@pytest.mark.parametrize(
    "changes",
    [
        {
            **{"schedule": "steps", "milestones": (0.3, 0.6), "label_smoothing": 0.1},
            **{"decay_all": True, "momentum": 0.0, "augment": "none"},
        },
        {
            **{"augment": "crop-flip", "eval_resize": 36, "normalization": "cifar10"},
            **{"accumulate": 4, "clip_norm": 1.0, "sharding": "file"},
        },
        {"augment": "resized-crop", "image_size": 24, "mixed_precision": "bfloat16"},
        {"mixed_precision": "float16", "ema": 0.9},
    ],
    ids=str,
)
def test_options_run(config, tmp_path, changes):
    config = dataclasses.replace(config, max_steps=2, **changes)
    row = train_and_evaluate(config, str(tmp_path / "run"))
    assert np.isfinite(row["loss"])
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_freeze_trains_the_classifier_alone_from_given_weights(
    config, tmp_path, suffix, capsys
):
    architecture = scalenet_tf.load_architecture(config.model)
    donor = scalenet_tf.ScaleNet(architecture, classes=7)
    path = str(tmp_path / f"donor{suffix}")
    donor.save(path) if suffix == ".keras" else donor.save_weights(path)
    config = dataclasses.replace(config, weights=path, freeze=True, max_steps=2)
    train_and_evaluate(config, str(tmp_path / "run"))
    model = keras.saving.load_model(tmp_path / "run" / "last.keras")
    assert_same_weights(model.get_weights()[:-2], donor.get_weights()[:-2])
    assert model.weights[-1].shape == (10,)
    assert [w.path for w in model.trainable_weights] == ["logits/kernel", "logits/bias"]
    assert (
        f"Start: 60 of 62 tensors of {path!r}; new classifier for 10 classes; "
        f"330 of {count_parameters(model):,} parameters train.\n"
    ) in capsys.readouterr().out


def test_freeze_holds_for_the_average_which_is_saved(config):
    plan = prepare(dataclasses.replace(config, freeze=True, ema=0.9))
    assert plan.final_model is plan.learner.average
    trained = [weight.path for weight in plan.final_model.trainable_weights]
    assert trained == ["logits/kernel", "logits/bias"]
    assert plan.describe_start().startswith("330 of ")


def test_weights_with_as_many_classes_bring_their_classifier(config, tmp_path):
    architecture = scalenet_tf.load_architecture(config.model)
    donor = scalenet_tf.ScaleNet(architecture, classes=10)
    donor.save_weights(tmp_path / "donor.weights.h5")
    config = dataclasses.replace(
        config,
        weights=str(tmp_path / "donor.weights.h5"),
        max_steps=1,
        learning_rate=1e-30,
        freeze=True,
    )
    train_and_evaluate(config, str(tmp_path / "run"))
    for actual, expected in zip(
        saved_weights(tmp_path / "run"), donor.get_weights(), strict=True
    ):
        np.testing.assert_allclose(actual, expected, atol=1e-20)


def test_one_step_is_sgd_with_momentum_and_l2_on_kernels(config, tmp_path):
    """Against PyTorch's rule, v = m v + g + wd w; w = w - lr v, written out here."""
    config = dataclasses.replace(
        config, max_steps=1, warmup_epochs=0, weight_decay=0.1, augment="none"
    )
    train_and_evaluate(config, str(tmp_path / "one"))
    without = dataclasses.replace(config, weight_decay=0.0)
    train_and_evaluate(without, str(tmp_path / "without"))
    keras.utils.set_random_seed(0)
    architecture = scalenet_tf.load_architecture(config.model)
    start = scalenet_tf.ScaleNet(architecture, classes=10)
    decayed, plain = (
        keras.saving.load_model(tmp_path / name / "last.keras").weights
        for name in ("one", "without")
    )
    for before, with_decay, free in zip(start.weights, decayed, plain, strict=True):
        difference = np.asarray(with_decay) - np.asarray(free)
        expected = -0.02 * 0.1 * np.asarray(before)
        if before.name != "kernel":
            expected = np.zeros_like(expected)
        np.testing.assert_allclose(difference, expected, atol=1e-6)


def folder_of_images(path, classes=3, count=12):
    rng = np.random.default_rng(0)
    for label in range(classes):
        (path / f"class{label}").mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 256, (40 + index, 50, 3), np.uint8)
            suffix = "png" if index % 2 else "jpg"
            Image.fromarray(pixels).save(path / f"class{label}/{index}.{suffix}")
    return path


def test_a_folder_of_images_of_many_sizes(config, tmp_path):
    folder = folder_of_images(tmp_path / "images")
    config = dataclasses.replace(
        config,
        dataset=str(folder),
        train_split="train",
        eval_split=None,
        augment="resized-crop",
        batch_size=8,
        epochs=1,
    )
    train_and_evaluate(config, str(tmp_path / "run"))
    content = json.loads((tmp_path / "run/config.json").read_text())
    assert content["class_names"] == ["class0", "class1", "class2"]
    assert content["training_examples"] + content["evaluation_examples"] == 36


def test_a_damaged_image_is_named_when_it_is_met(config, tmp_path):
    folder = folder_of_images(tmp_path / "images")
    path = folder / "class1/4.jpg"
    path.write_bytes(path.read_bytes()[:700])
    config = dataclasses.replace(
        config, dataset=str(folder), train_split="all", eval_split="all", batch_size=36
    )
    with pytest.raises(RunError, match=r"cannot be decoded: '.*class1/4\.jpg'"):
        train_and_evaluate(config, str(tmp_path / "run"))


def test_cifar10_of_tensorflow_datasets(config, tmp_path, data_dir):
    config = dataclasses.replace(
        config,
        dataset="cifar10",
        data_dir=os.path.join(data_dir, "tfds"),
        train_split="train[:256]",
        eval_split="test[:100]",
        normalization="cifar10",
        augment="crop-flip",
        max_steps=3,
    )
    train_and_evaluate(config, str(tmp_path / "run"))
    content = json.loads((tmp_path / "run/config.json").read_text())
    assert content["class_names"][0] == "airplane"
    assert content["evaluation_examples"] == 100


@pytest.mark.slow
def test_imagenet_photographs_with_the_imagenet_recipe(tiny, tmp_path, data_dir):
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(tiny.to_record()))
    config = dataclasses.replace(
        PRESETS["imagenet"].config,
        model=str(path),
        dataset=os.path.join(data_dir, "imagenet-sample"),
        eval_split="train[:100]",  # of 1 image a class, none is held out
        image_size=56,
        eval_resize=64,
        batch_size=16,
        max_steps=2,
    )
    train_and_evaluate(config, str(tmp_path / "run"))
    content = json.loads((tmp_path / "run/config.json").read_text())
    assert len(content["class_names"]) == 1000
    assert (content["image_size"], content["eval_resize"]) == (56, 64)


BAD_SETTINGS = [
    (
        {"model": "ScaleNet5O"},
        r"`model` must be.*5O'\. Did you mean ScaleNet50",
    ),
    ({"model": "none.json"}, r"`model` must be one of .*Received: 'none\.json'"),
    ({"dataset": "mnist_typo"}, r"`dataset`: there is no 'mnist_typo' in .*mean mnist"),
    ({"dataset": "./no/folder"}, r"`dataset`: there is no folder '\./no/folder'"),
    ({"dataset": "no/folder"}, r"`dataset`: .*must be digits, an existing folder"),
    ({"dataset": "cifar10", "data_dir": "nowhere"}, r"`data_dir`: there is no folder"),
    ({"train_split": "trian"}, r"`train_split`: no split 'trian' in digits.*train"),
    ({"eval_split": "test[:3"}, r"`eval_split`: no split 'test\[:3' in digits"),
    ({"eval_split": "train[:0]"}, r"`eval_split`: 'train\[:0\]'.*no examples"),
    ({"batch_size": 33, "virtual_devices": 2}, r"`batch_size` must be a multiple.*33"),
    ({"batch_size": 129}, r"`batch_size` must be at most the 128 examples.*129"),
    ({"virtual_devices": 2, "strategy": "none"}, r"`virtual_devices` needs `strategy`"),
    ({"strategy": "multiworker"}, r"needs the environment variable TF_CONFIG"),
    ({"strategy": "tpu"}, r"`strategy` tpu and `tpu` NAME go together"),
    ({"sync_batch_norm": True, "jit": "on"}, r"`sync_batch_norm` excludes `jit` on"),
    (
        {"accumulate": 3},
        r"a multiple of the number of replicas, 1 times `accumulate` 3",
    ),
    ({"virtual_devices": 3}, r"`virtual_devices`: TensorFlow already runs with 2"),
    ({"image_size": 1}, r"`image_size` must be at least 2.*1"),
    ({"eval_resize": 31}, r"`eval_resize` must be at least the image size, 32.*31"),
    ({"weights": "none.weights.h5"}, r"`weights` must be a \.weights.*none\.weights"),
    ({"weights": "imagenet"}, r"`weights` 'imagenet': no ImageNet weights.*convert"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_SETTINGS, ids=str)
def test_settings_that_cannot_run_are_errors_and_write_nothing(
    config, tmp_path, changes, message
):
    with pytest.raises(UsageError, match=message):
        train_and_evaluate(
            dataclasses.replace(config, **changes), str(tmp_path / "run")
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_weights_of_a_deeper_network_are_an_error(config, tmp_path, suffix):
    record = scalenet_tf.load_architecture(config.model).to_record()
    record["blocks_per_stage"] = [1, 2]
    record["allocation"].append([5, 4, 0])
    deeper = scalenet_tf.ScaleNet(architecture_from_record(record), classes=10)
    path = str(tmp_path / f"deeper{suffix}")
    deeper.save(path) if suffix == ".keras" else deeper.save_weights(path)
    config = dataclasses.replace(config, weights=path)
    message = r"`weights` .*(is another network|must be those of tinycifar)"
    with pytest.raises(UsageError, match=message):
        train_and_evaluate(config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_weights_of_a_network_without_top_serve_the_body(config, tmp_path):
    architecture = scalenet_tf.load_architecture(config.model)
    donor = scalenet_tf.ScaleNet(
        architecture, input_tensor=keras.Input((32, 32, 3)), include_top=False
    )
    donor.save(tmp_path / "body.keras")
    config = dataclasses.replace(
        config, weights=str(tmp_path / "body.keras"), freeze=True, max_steps=1
    )
    train_and_evaluate(config, str(tmp_path / "run"))
    assert_same_weights(saved_weights(tmp_path / "run")[:-2], donor.get_weights())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), r"needs at least 2 sub-folders"),
        (lambda path: (path / "cat").mkdir(parents=True), r"at least 2 .* with 1"),
        (
            lambda path: [(path / c).mkdir(parents=True) for c in "ab"],
            r"2 of 2 classes of .* have no images: 'a', 'b'",
        ),
        (
            lambda path: (folder_of_images(path) / "class0/x.jpg").write_text("text"),
            r"1 of 37 files cannot be used.*'class0/x\.jpg' \(not a JPEG",
        ),
        (
            lambda path: (folder_of_images(path) / "class0/x.jpg").touch(),
            r"1 of 37 files cannot be used",
        ),
    ],
)
def test_folders_that_hold_no_dataset_are_errors(config, tmp_path, make, message):
    make(tmp_path / "images")
    config = dataclasses.replace(
        config, dataset=str(tmp_path / "images"), train_split="train", eval_split=None
    )
    with pytest.raises(UsageError, match=message):
        train_and_evaluate(config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_workdir_with_another_run_is_refused_naming_the_fields(config, tmp_path):
    once = dataclasses.replace(config, max_steps=1)
    train_and_evaluate(once, str(tmp_path / "run"))
    before = {f: os.stat(tmp_path / "run" / f) for f in os.listdir(tmp_path / "run")}
    other = dataclasses.replace(config, learning_rate=0.5, seed=3)
    message = r"other settings: learning_rate \(0\.02 there, 0\.5 now\), seed \(0 there"
    with pytest.raises(UsageError, match=message):
        train_and_evaluate(other, str(tmp_path / "run"))
    fewer = dataclasses.replace(config, epochs=1)
    with pytest.raises(UsageError, match=r"epochs \(2 there, 1 now\)"):
        train_and_evaluate(fewer, str(tmp_path / "run"))
    after = {f: os.stat(tmp_path / "run" / f) for f in os.listdir(tmp_path / "run")}
    assert {f: s.st_mtime_ns for f, s in before.items()} == {
        f: s.st_mtime_ns for f, s in after.items()
    }


def test_a_workdir_that_is_removed_during_the_checks_is_not_made_again(
    config, tmp_path
):
    """Its lock went with it: another training may have begun in a new one."""
    folder = tmp_path / "run"
    with pytest.raises(UsageError, match=r"`workdir`: '.*run' was removed while"):
        train_and_evaluate(config, str(folder), check=lambda plan: folder.rmdir())
    assert not folder.exists()


def test_a_workdir_that_is_no_run_is_refused(config, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter1.tex").write_text("text")
    with pytest.raises(UsageError, match=r"`workdir` must be new, empty, or"):
        train_and_evaluate(config, str(tmp_path / "thesis"))
    with pytest.raises(UsageError, match=r"`workdir` must be a folder"):
        train_and_evaluate(config, str(tmp_path / "thesis/chapter1.tex"))
    with pytest.raises(UsageError, match=r"`workdir` .* cannot be written"):
        train_and_evaluate(config, str(tmp_path / "thesis/chapter1.tex/run"))


def test_a_run_whose_architecture_or_data_changed_is_refused(config, tmp_path):
    folder = folder_of_images(tmp_path / "images")
    config = dataclasses.replace(
        config, dataset=str(folder), train_split="all", eval_split="all", batch_size=8
    )
    config = dataclasses.replace(config, max_steps=1)
    train_and_evaluate(config, str(tmp_path / "run"))
    before = (tmp_path / "run/config.json").read_bytes()
    (folder / "class1").rename(folder / "cat")
    with pytest.raises(UsageError, match=r"12 files are gone \('class1/.*new \('cat/"):
        train_and_evaluate(config, str(tmp_path / "run"))
    (folder / "cat").rename(folder / "class1")
    record = scalenet_tf.load_architecture(config.model).to_record()
    record["allocation"][0] = [2, 2, 2]
    with open(config.model, "w") as file:
        json.dump(record, file)
    with pytest.raises(UsageError, match=r"differs in architecture"):
        train_and_evaluate(config, str(tmp_path / "run"))
    assert (tmp_path / "run/config.json").read_bytes() == before


@pytest.mark.slow  # test_faults.py does so with processes
def test_checkpoints_within_an_epoch_lose_nothing(config, tmp_path, monkeypatch):
    often = dataclasses.replace(config, checkpoint_steps=1)
    train_and_evaluate(config, str(tmp_path / "whole"))
    is_due = RunState.checkpoint_is_due

    def killed(state):
        if state.step == 7:
            raise KeyboardInterrupt
        return is_due(state)

    monkeypatch.setattr(RunState, "checkpoint_is_due", killed)
    with pytest.raises(KeyboardInterrupt):
        train_and_evaluate(often, str(tmp_path / "run"))
    monkeypatch.setattr(RunState, "checkpoint_is_due", is_due)
    train_and_evaluate(config, str(tmp_path / "run"))
    assert_same_weights(
        saved_weights(tmp_path / "run"), saved_weights(tmp_path / "whole")
    )
    whole = rows_without_speed(tmp_path / "whole")
    assert rows_without_speed(tmp_path / "run") == whole


def test_a_run_that_diverges_names_step_rate_and_checkpoint(config, tmp_path):
    before = dataclasses.replace(config, checkpoint_steps=1, warmup_epochs=0, epochs=9)
    wild = dataclasses.replace(before, learning_rate=1e25)
    with pytest.raises(
        RunError,
        match=r"NaN or infinite at step 2 of 36, at learning rate 9.981e\+24. This "
        r"state was not saved. No checkpoint is good. A lower `learning_rate`",
    ):
        train_and_evaluate(wild, str(tmp_path / "run"))
    # It holds the weights from which the second step diverged.
    assert (tmp_path / "run" / "checkpoints" / "ckpt-1.index").exists()
    # It says the same again instead of going on from what it cannot use.
    with pytest.raises(RunError, match=r"at step 2 of 36"):
        train_and_evaluate(wild, str(tmp_path / "run"))


class LeavingReader(io.StringIO):
    """A pipe whose reader leaves at a line of the third step."""

    def write(self, text):
        if "step 3 of 4" in text:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        return super().write(text)


def test_a_run_whose_reader_leaves_is_saved(config, tmp_path, monkeypatch):
    lines = functools.partial(progress.LogLines, seconds=0)
    monkeypatch.setattr(progress, "LogLines", lines)
    monkeypatch.setattr("sys.stdout", LeavingReader())
    with pytest.raises(OutputError), checked_output():
        train_and_evaluate(config, str(tmp_path / "run"))
    monkeypatch.setattr("sys.stdout", io.StringIO())
    train_and_evaluate(config, str(tmp_path / "run"))
    assert "Resuming at step 3 of 8." in sys.stdout.getvalue()


@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_closed_terminal_asks_the_run_to_stop_but_for_nohup(before):
    kept = signal.signal(signal.SIGHUP, before)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.came == (before == signal.SIG_DFL)
        assert signal.getsignal(signal.SIGHUP) == before
    finally:
        signal.signal(signal.SIGHUP, kept)


@pytest.mark.slow  # test_faults.py does so with processes
def test_a_signal_stops_after_the_step_saves_and_resumes(config, tmp_path, monkeypatch):
    from scalenet_training.train import loop

    train_and_evaluate(config, str(tmp_path / "whole"))
    dispatch = loop.Trainer._dispatch

    def signalled(trainer, batch):
        report = dispatch(trainer, batch)
        if trainer.state.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return report

    monkeypatch.setattr(loop.Trainer, "_dispatch", signalled)
    with pytest.raises(InterruptedRunError, match=r"by SIGTERM after step 3") as raised:
        train_and_evaluate(config, str(tmp_path / "run"))
    assert raised.value.exit_code == 128 + signal.SIGTERM
    monkeypatch.setattr(loop.Trainer, "_dispatch", dispatch)
    train_and_evaluate(config, str(tmp_path / "run"))
    assert_same_weights(
        saved_weights(tmp_path / "run"), saved_weights(tmp_path / "whole")
    )


@pytest.mark.slow  # test_faults.py does so with processes
def test_a_signal_within_an_evaluation_keeps_the_epoch(config, tmp_path, monkeypatch):
    """The epoch's training is saved; the run resumed begins with its evaluation."""
    from scalenet_training.train import evaluation

    train_and_evaluate(config, str(tmp_path / "whole"))
    make = evaluation.make_evaluation_step

    def signalling(*arguments):
        step = make(*arguments)

        def signalled(batch, stop):
            if not stop:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(batch, stop)

        return signalled

    monkeypatch.setattr(evaluation, "make_evaluation_step", signalling)
    with pytest.raises(InterruptedRunError, match=r"after step 4 of 8"):
        train_and_evaluate(config, str(tmp_path / "run"))
    monkeypatch.setattr(evaluation, "make_evaluation_step", make)
    train_and_evaluate(config, str(tmp_path / "run"))
    whole = rows_without_speed(tmp_path / "whole")
    assert rows_without_speed(tmp_path / "run") == whole
    assert_same_weights(
        saved_weights(tmp_path / "run"), saved_weights(tmp_path / "whole")
    )


@pytest.mark.slow
def test_digits_reach_95_percent_on_one_device_and_within_a_point_on_two(tmp_path):
    accuracies = []
    for devices in (0, 2):
        config = dataclasses.replace(DIGITS, virtual_devices=devices)
        row = train_and_evaluate(config, str(tmp_path / str(devices)))
        accuracies.append(1 - row["val_top1_error"])
    assert min(accuracies) >= 0.95
    assert abs(accuracies[0] - accuracies[1]) <= 0.01


def test_labels_outside_the_classes_are_an_error():
    from scalenet_training.data.errors import checked_label, data_errors
    from scalenet_training.data.splits import IndexedSplit

    split = IndexedSplit(np.arange(3), lambda i: (tf.zeros((32, 32, 3), tf.uint8), i))
    labels = tf.data.Dataset.from_tensor_slices([3, 10]).map(
        lambda label: checked_label(label, classes=10)
    )
    with (
        pytest.raises(RunError, match=r"labels must be from 0 to 9.*10"),
        data_errors(split),
    ):
        list(labels)


class Killed(BaseException):
    pass


def killed_at(times, function):
    """A function that ends the process the n-th time that it is called."""
    calls = []

    def called(*arguments, **options):
        calls.append(arguments)
        if len(calls) == times:
            raise Killed
        return function(*arguments, **options)

    return called


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize(
    ("kind", "method"),
    [
        (ScalarSummaries, "write"),
        (Checkpoints, "save"),
        (ForwardedEpochs, "on_epoch_end"),  # what comes after the checkpoint
    ],
)
def test_a_kill_loses_no_point_of_tensorboard(
    config, tmp_path, monkeypatch, kind, method, epoch
):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(kind, method, killed_at(epoch, getattr(kind, method)))
        with pytest.raises(Killed):
            train_and_evaluate(config, str(folder))
    train_and_evaluate(config, str(folder))
    points = {}
    for path in sorted((folder / "tensorboard").iterdir()):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                number = float(tf.make_ndarray(value.tensor))
                points[value.tag, event.step] = number
    rows = RunFolder(folder).rows()
    assert [row.pop("epoch") for row in rows] == [0, 1]
    assert points == {
        (name, epoch): pytest.approx(value, rel=1e-6)
        for epoch, row in enumerate(rows)
        for name, value in (row | {"val_accuracy": 1 - row["val_top1_error"]}).items()
    }


def test_a_row_is_of_models_that_are_there(config, tmp_path, monkeypatch):
    """Others take the last row for the end of a run, and read its models."""
    folder = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_epoch", killed_at(2, RunFolder.save_epoch))
        with pytest.raises(Killed):
            train_and_evaluate(config, folder.path)
    assert [row["epoch"] for row in folder.rows()] == [0]
    assert not folder.read_record().has_ended(folder.rows())
    train_and_evaluate(config, folder.path)
    assert folder.read_record().has_ended(folder.rows())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run after each of its two epochs, and its settings."""
    folder = tmp_path_factory.mktemp("undisturbed")
    architecture = folder / "tiny_cifar.json"
    architecture.write_text(json.dumps(TINY_CIFAR.to_record()))
    config = dataclasses.replace(
        DIGITS,
        model=str(architecture),
        train_split="train[:128]",
        eval_split="validation[:50]",
        epochs=2,
        learning_rate=0.01,
        warmup_epochs=0,
        seed=3,
    )
    for epochs in (1, 2):
        steps = dataclasses.replace(config, max_steps=4 * epochs)
        train_and_evaluate(steps, str(folder / str(epochs)))
    errors = [row["val_top1_error"] for row in RunFolder(folder / "2").rows()]
    assert errors[1] < errors[0]  # or `best.keras` would be of the first
    return folder, config


def assert_same_files(folder, expected):
    assert rows_without_speed(folder) == rows_without_speed(expected)
    for name in ("best", "last"):
        assert_same_weights(saved_weights(folder, name), saved_weights(expected, name))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (RunFolder, "save_epoch"),
        (ScalarSummaries, "write"),
        (Checkpoints, "save"),
    ],
)
def test_an_epoch_that_a_kill_loses_leaves_no_file(
    undisturbed, tmp_path, monkeypatch, kind, name
):
    """It may come out otherwise when it is trained again, as on a GPU."""
    expected, config = undisturbed
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(kind, name, killed_at(2, getattr(kind, name)))
        with pytest.raises(Killed):
            train_and_evaluate(config, str(folder))
    assert_same_files(folder, expected / "1")
    train_and_evaluate(config, str(folder))
    assert_same_files(folder, expected / "2")
    assert not list(folder.glob("checkpoints/evaluated-*"))


@pytest.mark.parametrize(
    ("place", "name", "before"),
    [
        (RunFolder, "take_epoch", 1),  # at the start, where there is nothing to take
        (run_folder.shutil, "copyfile", 0),
        (RunFolder, "write_row", 0),
        (loop, "plot_curves", 0),
        (RunFolder, "forget_epoch", 0),
    ],
)
@pytest.mark.parametrize("epoch", [1, 2])
def test_an_epoch_whose_checkpoint_is_there_is_not_lost(
    undisturbed, tmp_path, monkeypatch, capsys, place, name, before, epoch
):
    """Also the last one, after which nothing is left to train."""
    expected, config = undisturbed
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        killed = killed_at(before + epoch, getattr(place, name))
        patch.setattr(place, name, killed)
        with pytest.raises(Killed):
            train_and_evaluate(config, str(folder))
    capsys.readouterr()
    train_and_evaluate(config, str(folder))
    step = 4 * epoch
    assert ("Resuming at", "Already at")[epoch - 1] + f" step {step} of 8" in (
        capsys.readouterr().out
    )
    assert_same_files(folder, expected / "2")
    assert not list(folder.glob("checkpoints/evaluated-*"))


def test_a_damaged_end_of_an_epoch_is_named(config, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_row", killed_at(1, RunFolder.write_row))
        with pytest.raises(Killed):
            train_and_evaluate(config, str(folder))
    (left,) = folder.glob("checkpoints/evaluated-*/epoch.json")
    left.write_text("{}")
    with pytest.raises(UsageError, match=r"`workdir`: '.*epoch\.json' is damaged"):
        train_and_evaluate(config, str(folder))
