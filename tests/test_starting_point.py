"""What training starts from: what of a file is loaded, and what is said of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_CIFAR
from scalenet_training.networks.starting_point import start_from
from situations import situation

import scalenet_tf

AREA = "saving and loading"


def network(classes, **options):
    return scalenet_tf.ScaleNet(TINY_CIFAR, classes=classes, **options)


def written(model, folder, suffix):
    path = str(folder / f"donor{suffix}")
    model.save_weights(path) if suffix == ".weights.h5" else model.save(path)
    return path


DONORS = {
    "other classes": (
        {"classes": 10},
        "60 of 62 tensors of {}; new classifier for 3 classes",
    ),
    "the same classes": ({"classes": 3}, "62 of 62 tensors of {}"),
    "no classifier": (
        {"classes": 3, "include_top": False},
        "60 of 60 tensors of {}; new classifier for 3 classes",
    ),
}


def combination(suffix, top):
    marks = [situation(AREA, f"--weights {suffix}: of {top}")]
    # One of each donor and of each format is quick.
    if (suffix != ".weights.h5") == (top == "other classes"):
        marks.append(pytest.mark.slow)
    return pytest.param(suffix, *DONORS[top], marks=marks, id=f"{suffix}-{top}")


@pytest.mark.parametrize(
    ("suffix", "donor", "said"),
    [
        combination(suffix, top)
        for suffix in (".keras", ".h5", ".weights.h5")
        for top in DONORS
    ],
)
def test_what_was_loaded_is_said(suffix, donor, said, tmp_path, outcome):
    path = written(network(**donor), tmp_path, suffix)
    report = start_from(network(3), path)
    assert str(report) == said.format(repr(path))
    assert report.loaded == report.found - 2 * (donor["classes"] == 10)
    outcome(f"loaded: {report}".replace(repr(path), "the file"))


@pytest.mark.parametrize(
    ("suffix", "value", "message"),
    [
        (".keras", np.nan, "must hold finite numbers. Received: 1 of 16 are NaN"),
        (".weights.h5", -1.0, "is a variance and must hold no negative number"),
    ],
)
def test_weights_that_cannot_be_right_leave_the_model_as_it_was(
    suffix, value, message, tmp_path
):
    donor = network(10)
    variance = donor.get_layer("stem_bn").moving_variance
    variance.assign(tf.tensor_scatter_nd_update(variance.value, [[3]], [value]))
    path = written(donor, tmp_path, suffix)
    model = network(3)
    before = model.get_weights()
    with pytest.raises(ValueError, match="`weights`") as refused:
        start_from(model, path)
    assert f"tensor 'stem_bn/moving_variance' of {path!r} {message}" in str(
        refused.value
    )
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_frozen_layers_of_the_donor_do_not_freeze_the_model(tmp_path):
    donor = network(3)
    for layer in donor._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    model = network(3)
    trained = len(model.trainable_weights)
    start_from(model, written(donor, tmp_path, ".keras"))
    assert len(model.trainable_weights) == trained
