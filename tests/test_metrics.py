"""Rows of metrics.csv, and what of them is told."""

import pytest
from scalenet_training.runs.metrics import errors_in_words, worth_telling

VALUES = {"loss": 1.0, "val_top1_error": 0.25, "val_top5_error": 0.0125}


@pytest.mark.parametrize("classes", [2, 5])
def test_of_few_classes_no_top_5_error_is_told(classes):
    assert worth_telling(VALUES, classes) == {"loss": 1.0, "val_top1_error": 0.25}
    assert errors_in_words(VALUES, classes, "val_") == "top-1 error 25.00%"


def test_of_six_classes_both_errors_are_told():
    assert worth_telling(VALUES, 6) == VALUES
    words = "top-1 error 25.00%, top-5 error 1.25%"
    assert errors_in_words(VALUES, 6, "val_") == words
