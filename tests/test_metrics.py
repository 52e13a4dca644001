"""Rows of metrics.csv, and what of them is told."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scalenet_training.runs.metrics import (
    Curve,
    errors_in_words,
    interval_in_words,
    median_speed,
    worth_telling,
)
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.outcome import Patience
from scalenet_training.train.progress import lag_message

VALUES = {"loss": 1.0, "val_top1_error": 0.25, "val_top5_error": 0.0125}
ACCURACY = {"val_accuracy": 0.75}


@pytest.mark.parametrize("classes", [2, 5])
def test_of_few_classes_no_top_5_error_is_told(classes):
    told = {"loss": 1.0, "val_top1_error": 0.25}
    assert worth_telling(VALUES, classes) == told | ACCURACY
    words = "top-1 error 25.00%, accuracy 75.00%"
    assert errors_in_words(VALUES, classes, "val_") == words


def test_of_six_classes_both_errors_are_told():
    assert worth_telling(VALUES, 6) == VALUES | ACCURACY
    words = "top-1 error 25.00%, top-5 error 1.25%, accuracy 75.00%"
    assert errors_in_words(VALUES, 6, "val_") == words


def test_the_error_of_few_examples_has_its_interval():
    # Wilson by hand: (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    line = interval_in_words(0.1, 40)
    assert "10.00% of 40 examples" in line
    assert "4.0% to 23.1% (Wilson)" in line
    assert "0.0% to 3.7%" in interval_in_words(0.0, 99)
    assert interval_in_words(0.1, 100) == ""


def test_a_first_epoch_is_explained_where_validation_is_far_worse():
    row = {"loss": 2.0, "val_loss": 4.1}
    assert "lag behind" in lag_message(row, TrainConfig())
    assert lag_message({**row, "val_loss": 4.0}, TrainConfig()) == ""
    # Training and evaluation have different losses then.
    assert lag_message(row, TrainConfig(loss="binary")) == ""


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        ([3.0, math.nan, 1.0, 2.0], 2.0),
        ([math.nan], None),
        ([], None),
        ([4.0, 8.0], 6.0),
    ],
)
def test_the_speed_is_that_of_the_epochs_that_were_trained(speeds, expected):
    """A run that was stopped while it evaluated does not know that of the epoch."""
    assert median_speed([{"images_per_second": speed} for speed in speeds]) == expected


def curve(*errors, unfinished=None):
    rows = [
        {"epoch": epoch, "val_loss": 1.0, "val_top1_error": error}
        for epoch, error in enumerate(errors)
    ]
    return Curve(rows, unfinished=unfinished)


@pytest.mark.parametrize(
    ("errors", "unfinished", "epoch"),
    [((0.3, 0.2, 0.1), None, 2), ((0.3, 0.2, 0.1), 2, 1), ((0.3,), 0, 0)],
)
def test_an_epoch_that_was_not_finished_is_the_best_only_alone(
    errors, unfinished, epoch
):
    assert curve(*errors, unfinished=unfinished).best["epoch"] == epoch


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3]), min_size=1), st.integers(0, 4))
def test_patience_is_told_from_the_rows(errors, epochs):
    patience = Patience(epochs)
    for error in errors:
        patience.saw(error)
    expected = epochs > 0 and patience.exhausted
    assert curve(*errors).has_run_out(epochs) == expected
    more = curve(*errors, 0.3, unfinished=len(errors))
    assert more.has_run_out(epochs) == expected
