"""A run with everything that varies its examples: stopped, it goes on as if not."""

import dataclasses

import keras
import numpy as np
import pytest
from scalenet_training.errors import UsageError
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.loop import train_and_evaluate


@pytest.fixture
def config(tiny_cifar_file):
    return TrainConfig(
        model=tiny_cifar_file,
        train_split="train[:70]",
        eval_split="validation[:16]",
        batch_size=16,
        epochs=2,
        strategy="none",
        policy="trivialaugment",
        color_jitter=0.4,
        random_erasing=0.5,
        mixup=0.4,
        cutmix=1.0,
        repeats=3,
        balance="sampling",
        loss="binary",
        loss_threshold=0.2,
    )


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_it_had_not_been(config, tmp_path):
    whole, stopped = str(tmp_path / "whole"), str(tmp_path / "stopped")
    train_and_evaluate(config, whole)
    # Within an epoch, within the copies of an example.
    train_and_evaluate(dataclasses.replace(config, max_steps=3), stopped)
    train_and_evaluate(config, stopped)
    rows = [RunFolder(folder).rows() for folder in (whole, stopped)]
    for expected, actual in zip(rows[0], rows[1][-2:], strict=True):
        assert actual["epoch"] == expected["epoch"]
    assert rows[1][-1]["loss"] == rows[0][-1]["loss"]
    weights = [
        keras.models.load_model(f"{folder}/last.keras").get_weights()
        for folder in (whole, stopped)
    ]
    for actual, expected in zip(*weights, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_what_varies_is_part_of_a_run(config, tmp_path):
    """Another value is another run, and older records have what was done then."""
    changed = dataclasses.replace(config, repeats=1)
    assert changed.differences(config) == {"repeats": (3, 1)}
    assert TrainConfig().identity().keys() >= {"policy", "mixup", "loss", "balance"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 15}, "`batch_size` must be even for each of the replicas, 1"),
        ({"batch_size": 2}, "`repeats` must be at most `batch_size`, 2. Received: 3"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_found_before_anything_is_written(
    config, changes, message, tmp_path
):
    config = dataclasses.replace(config, **changes)
    with pytest.raises(UsageError, match=message):
        train_and_evaluate(config, str(tmp_path / "run"))
    assert not (tmp_path / "run/config.json").exists()
