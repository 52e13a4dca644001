import keras
import numpy as np
import pytest
import tensorflow as tf

import scalenet_tf
from scalenet_tf.preprocessing import EvaluationTransform


def test_imagenet_statistics_are_those_of_the_pytorch_models():
    pixels = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    expected = [
        [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225],
        [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225],
    ]
    for x in (pixels, tf.constant(pixels), pixels.tolist()):
        y = scalenet_tf.preprocess_input(x)
        np.testing.assert_allclose(y[0], expected, rtol=1e-6)
        assert y.dtype == np.float32
    assert pixels.max() == 255


@pytest.mark.parametrize(
    ("statistics", "mean", "deviation"),
    [
        ("cifar10", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        ("cifar100", (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
        ("centered", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ],
)
def test_statistics_by_an_argument(statistics, mean, deviation):
    y = scalenet_tf.preprocess_input(np.full((1, 3), 255.0), statistics)
    expected = (1 - np.array(mean)) / np.array(deviation)
    np.testing.assert_allclose(y[0], expected, rtol=1e-6)


def test_tensors_keep_their_floating_type():
    y = scalenet_tf.preprocess_input(tf.zeros((1, 2, 2, 3), tf.float64))
    assert y.dtype == tf.float64


def test_keras_tensors_of_a_functional_model():
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    model = keras.Model(inputs, scalenet_tf.preprocess_input(inputs))
    x = np.arange(192, dtype=np.uint8).reshape(1, 8, 8, 3)
    expected = scalenet_tf.preprocess_input(x)
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("x", "statistics", "message"),
    [
        (np.zeros((2, 2, 3)), "mnist", r"`statistics` must be one of.*'mnist'"),
        (np.zeros((2, 2, 1)), "imagenet", r"channels last.*\(2, 2, 1\)"),
        (np.float32(3), "imagenet", r"channels last.*\(\)"),
    ],
)
def test_what_cannot_be_normalised_is_an_error(x, statistics, message):
    with pytest.raises(ValueError, match=message):
        scalenet_tf.preprocess_input(x, statistics)


def test_decode_imagenet_predictions():
    predictions = np.zeros((2, 1000))
    predictions[0, [0, 1, 999]] = 0.7, 0.2, 0.1
    predictions[1, 207] = 1.0
    first, second = scalenet_tf.decode_predictions(predictions, top=3)
    assert first == [
        ("n01440764", "tench", 0.7),
        ("n01443537", "goldfish", 0.2),
        ("n15075141", "toilet_tissue", 0.1),
    ]
    assert second[0] == ("n02099601", "golden_retriever", 1.0)


def test_decode_with_ones_own_names():
    decoded = scalenet_tf.decode_predictions([[0.1, 0.9]], class_names=["cat", "dog"])
    assert decoded == [[("1", "dog", 0.9), ("0", "cat", 0.1)]]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"preds": np.zeros((1, 100))}, r"\(batch, 1000\).*ImageNet.*\(1, 100\)"),
        ({"preds": np.zeros(1000)}, r"Received: shape \(1000,\)"),
        (
            {"preds": np.zeros((1, 1000)), "top": 0},
            r"`top` must be a whole number, at least 1.*0",
        ),
        (
            {"preds": np.zeros((1, 3)), "class_names": ["a", "b"]},
            r"\(batch, 2\).*`class_names`",
        ),
    ],
)
def test_predictions_of_the_wrong_shape_are_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        scalenet_tf.decode_predictions(**kwargs)


@pytest.mark.parametrize("size", [(40, 56), (37, 61), (32, 32)], ids=str)
def test_evaluation_transform_of_a_batch_is_that_of_each_image(size):
    transform = EvaluationTransform(32, 32, "cifar10")
    images = np.random.default_rng(0).integers(0, 256, (3, *size, 3), np.uint8)
    unknown = tf.function(
        transform, input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)]
    )
    expected = tf.stack([transform(image) for image in images])
    assert expected.shape == (3, 32, 32, 3)
    np.testing.assert_array_equal(transform(images), expected)
    np.testing.assert_allclose(unknown(images), expected, rtol=1e-6, atol=1e-6)
    if size == (32, 32):
        plain = scalenet_tf.preprocess_input(images, "cifar10")
        np.testing.assert_allclose(unknown(images), plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((32, 31), r"`image_size` must be .* at most `resize`.*resize=31"),
        ((0, 31), r"`image_size` must be at least 1.*image_size=0"),
        ((32, 32, "mnist"), r"`normalization` must be one of imagenet.*'mnist'"),
    ],
)
def test_evaluation_transforms_that_cannot_be_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        EvaluationTransform(*arguments)
