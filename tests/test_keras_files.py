"""Weights from files of Keras: what `weights=` takes, and what it refuses."""

import pathlib

import keras
import numpy as np
import pytest
import reference
from conftest import TINY_CIFAR
from situations import situation

import scalenet_tf
from scalenet_tf.weights import pytorch_shapes

AREA = "weights of a network"
SUFFIXES = (".weights.h5", ".keras", ".h5")


def network(**options):
    return scalenet_tf.ScaleNet(TINY_CIFAR, **{"classes": 5, **options})


def trained(**options):
    model = network(**options)
    weights = reference.generated_weights(pytorch_shapes(model))
    scalenet_tf.load_pytorch_weights(model, weights)
    return model


def written(model, folder, suffix):
    path = folder / f"donor{suffix}"
    model.save_weights(path) if suffix == ".weights.h5" else model.save(path)
    return str(path)


def images():
    return np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype("f4")


def assert_equal_answers(model, expected):
    np.testing.assert_array_equal(model(images()), expected(images()))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_file_gives_the_network_with_its_top_and_without(suffix, tmp_path):
    donor = trained()
    path = written(donor, tmp_path, suffix)
    assert_equal_answers(network(weights=path), donor)
    body = network(weights=path, include_top=False, pooling="avg")
    pooled = keras.Model(donor.input, donor.get_layer("avg_pool").output)
    assert_equal_answers(body, pooled)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_classes_and_channels_are_errors_that_say_what_the_file_has(
    suffix, tmp_path
):
    path = written(trained(), tmp_path, suffix)
    with pytest.raises(ValueError, match=r"`classes` must be .*have: 5 classes") as no:
        network(classes=6, weights=path)
    assert str(no.value).endswith(
        "Received: classes=6, include_top=True. Pass these classes, or "
        "include_top=False and put a head of your own on the network."
    )
    with pytest.raises(ValueError, match=r"must have 3 channels.*Received: 1 channels"):
        network(weights=path, input_shape=(32, 32, 1))


def fine_tuned():
    """A network inside a model of one's own, and that network."""
    body = trained(include_top=False, pooling="avg")
    inputs = keras.Input((32, 32, 3))
    outputs = keras.layers.Dense(2, name="mine")(body(inputs))
    return keras.Model(inputs, outputs), body


@pytest.mark.parametrize(
    "suffix",
    [
        pytest.param(
            s, marks=situation(AREA, f"weights=: {s} with the network in another model")
        )
        for s in (".keras", ".h5")
    ],
)
def test_a_network_inside_a_model_gives_its_weights(suffix, tmp_path, outcome):
    model, body = fine_tuned()
    path = written(model, tmp_path, suffix)
    same = network(weights=path, include_top=False, pooling="avg")
    assert_equal_answers(same, body)
    with pytest.raises(ValueError, match="have: no top"):
        network(weights=path)
    outcome("the network's weights are loaded; there is no top among them")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_layers_in_front_of_the_network_are_left_as_they_are(suffix, tmp_path):
    donor = trained()
    inputs = keras.Input((32, 32, 3))
    normalization = keras.layers.Normalization(mean=[1, 2, 3], variance=[4, 5, 6])
    model = network(
        weights=written(donor, tmp_path, suffix), input_tensor=normalization(inputs)
    )
    x = (images() - np.float32([1, 2, 3])) / np.sqrt(np.float32([4, 5, 6]))
    np.testing.assert_allclose(model(images()), donor(x), atol=1e-6)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("synchronized", [False, True])
def test_weights_go_between_networks_for_one_device_and_for_several(
    synchronized, suffix, tmp_path
):
    donor = trained(synchronized=synchronized)
    path = written(donor, tmp_path, suffix)
    before = pathlib.Path(path).read_bytes()
    assert_equal_answers(network(weights=path, synchronized=not synchronized), donor)
    assert pathlib.Path(path).read_bytes() == before


def with_lora(model):
    model.get_layer("stem_conv").enable_lora(2)
    model.get_layer("stem_conv").lora_kernel_b.assign(np.ones((2, 16)))
    return model


def test_lora_of_the_file_is_in_the_kernel(tmp_path):
    donor = with_lora(trained())
    model = network(weights=written(donor, tmp_path, ".keras"))
    assert not model.get_layer("stem_conv").lora_enabled
    np.testing.assert_allclose(model(images()), donor(images()), atol=1e-6)


def other_network(folder):
    twin = scalenet_tf.ScaleNet(TINY_CIFAR.twin(), classes=5)
    return written(twin, folder, ".keras")


def folded(folder):
    return written(scalenet_tf.fold_batch_norm(trained()), folder, ".keras")


def quantized(folder):
    model = trained()
    model.get_layer("logits").quantize("int8")
    return written(model, folder, ".keras")


def foreign(folder):
    layers = [keras.Input((4,)), keras.layers.Dense(2)]
    return written(keras.Sequential(layers, name="mine"), folder, ".keras")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (other_network, "': layer 'stage1_block1_conv3' has other shapes"),
        (folded, "': layer 'stage1_block1_bn1' is not in both"),
        (quantized, "': layer 'logits' is quantised"),
        (foreign, "of a network of this package.*which holds the model 'mine'"),
    ],
)
def test_models_that_do_not_fit_are_named(make, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        network(weights=make(tmp_path))


def test_the_authors_checkpoints_are_told_of():
    with pytest.raises(ValueError, match="no ImageNet weights come with") as refused:
        scalenet_tf.ScaleNet50(weights="imagenet")
    assert "https://github.com/Eli-YiLi/ScaleNet" in str(refused.value)
    assert "`scalenet convert scalenet50.pth --model ScaleNet50" in str(refused.value)
