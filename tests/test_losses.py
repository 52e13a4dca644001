"""Losses of hard and soft labels, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from scalenet_training.errors import SettingError
from scalenet_training.settings.training import TrainConfig
from scalenet_training.train.step import Loss, cross_entropy
from scalenet_training.train.step.losses import LOSSES, dominant

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(0, 3, (6, 4))
LABELS = np.array([0, 1, 2, 3, 1, 1])
ONE_HOT = np.eye(4)[LABELS]
SOFT = 0.7 * ONE_HOT + 0.3 * ONE_HOT[::-1]


def softmax(targets, logits):
    return -(targets * (logits - np.log(np.exp(logits).sum(1, keepdims=True)))).sum(1)


def binary(targets, logits):
    p = 1 / (1 + np.exp(-logits))
    return -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean(1)


REFERENCES = {"softmax": softmax, "binary": binary}


def losses(labels, **options):
    return Loss(**options)(tf.constant(LOGITS), tf.constant(labels)).numpy()


def test_every_loss_has_a_reference():
    assert REFERENCES.keys() == LOSSES.keys()


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_hard_and_soft_labels(kind, smoothing):
    options = {"kind": kind, "label_smoothing": smoothing}
    for labels, targets in ((LABELS, ONE_HOT), (ONE_HOT, ONE_HOT), (SOFT, SOFT)):
        smooth = targets * (1 - smoothing) + smoothing / 4
        expected = REFERENCES[kind](smooth, LOGITS)
        np.testing.assert_allclose(losses(labels, **options), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", LOSSES)
def test_a_mixed_label_has_the_mixed_loss(kind):
    """With class weights and smoothing too: each class by its share."""
    options = {
        "kind": kind,
        "label_smoothing": 0.1,
        "class_weights": (0.5, 1.0, 2.0, 4.0),
    }
    own, others = (losses(values, **options) for values in (LABELS, LABELS[::-1]))
    expected = 0.7 * own + 0.3 * others
    np.testing.assert_allclose(losses(SOFT, **options), expected, rtol=1e-12)


def test_class_weights_are_factors():
    weights = np.array([0.5, 1.0, 2.0, 0.0])
    weighted = losses(LABELS, class_weights=tuple(weights))
    np.testing.assert_allclose(weighted, weights[LABELS] * losses(LABELS), rtol=1e-12)


def test_a_threshold_makes_shares_whole():
    options = {"kind": "binary", "threshold": 0.2}
    expected = binary((SOFT > 0.2).astype(float), LOGITS)
    np.testing.assert_allclose(losses(SOFT, **options), expected, rtol=1e-12)
    assert (SOFT > 0.2).sum(1).max() == 2
    options["threshold"] = 0.5
    expected = binary(ONE_HOT, LOGITS)
    np.testing.assert_allclose(losses(SOFT, **options), expected, rtol=1e-12)


def test_the_binary_loss_of_large_logits_is_finite():
    loss = Loss("binary")(tf.constant([[1e4, -1e4]]), tf.constant([1]))
    np.testing.assert_allclose(loss, [1e4])


def test_evaluation_keeps_the_cross_entropy():
    actual = cross_entropy(tf.constant(LOGITS), tf.constant(LABELS))
    np.testing.assert_allclose(actual, softmax(ONE_HOT, LOGITS), rtol=1e-12)


def test_the_dominant_class_is_that_of_the_largest_share():
    np.testing.assert_array_equal(dominant(tf.constant(LABELS)), LABELS)
    np.testing.assert_array_equal(dominant(tf.constant(SOFT)), LABELS)


def test_a_threshold_is_for_the_binary_loss():
    message = (
        r"`loss_threshold` is for `loss` binary, .*\. Received: loss_threshold=0\.2, "
        r"loss='softmax'\."
    )
    with pytest.raises(SettingError, match=message):
        TrainConfig(loss_threshold=0.2)
    assert TrainConfig(loss="binary", loss_threshold=0.2).loss_threshold == 0.2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy": "augmix"}, "`policy` must be one of ('none', 'randaugment', "),
        ({"policy_magnitude": 11.0}, "`policy_magnitude` must be from 0 to 10. "),
        ({"policy_operations": 15}, "`policy_operations` must be from 1 to 14. "),
        ({"color_jitter": 1.1}, "`color_jitter` must be from 0 to 1. Received: 1.1."),
        ({"mixup": -0.1}, "`mixup` must be 0 or more. Received: -0.1."),
        ({"random_erasing": 2.0}, "`random_erasing` must be from 0 to 1. "),
        ({"repeats": 0}, "`repeats` must be more than 0. Received: 0."),
        ({"loss": "mse"}, "`loss` must be one of ('softmax', 'binary'). "),
    ],
    ids=str,
)
def test_a_setting_out_of_its_bounds(changes, message):
    with pytest.raises(SettingError) as refused:
        TrainConfig(**changes)
    assert str(refused.value).startswith(message)
