"""Rows of metrics.csv, and what of them is told."""

import pytest
from scalenet_training.runs.metrics import (
    errors_in_words,
    interval_in_words,
    worth_telling,
)
from scalenet_training.settings.training import TrainConfig
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
