"""Variants of the SA block: a class, and nothing else of the package is touched."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_CIFAR

import scalenet_tf
from scalenet_tf.layers import ScaleAggregation
from scalenet_tf.weights import pytorch_arrays

IMAGES = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype("f4")


@keras.saving.register_keras_serializable("test_block_variants")
class AveragePooled(ScaleAggregation):
    """Sees the average of each window instead of its maximum."""

    def pool(self, pooled, scale):
        return tf.nn.avg_pool2d(pooled[1], scale, scale, "VALID")


@keras.saving.register_keras_serializable("test_block_variants")
class Gated(ScaleAggregation):
    """Weighs its neurons by a gate that sees their means; convolutions have a bias."""

    def make_sublayers(self):
        sublayers = super().make_sublayers()
        for sublayer in sublayers.values():
            if isinstance(sublayer, keras.layers.Conv2D):
                sublayer.use_bias = True
        units = sum(self.channels)
        gate = keras.layers.Dense(
            units, "sigmoid", name="gate", dtype=self.dtype_policy
        )
        return {**sublayers, "gate": gate}

    def build(self, input_shape):
        super().build(input_shape)
        self.gate.build((None, sum(self.channels)))

    def call(self, inputs, training=None):
        features = super().call(inputs, training)
        return features * self.gate(tf.reduce_mean(features, (1, 2), keepdims=True))

    def macs(self, height, width, channels):
        return super().macs(height, width, channels) + sum(self.channels) ** 2

    def pytorch_modules(self):
        return {**super().pytorch_modules(), "gate": self.gate}


def trained(block):
    """A network of such blocks, with weights as after training."""
    model = scalenet_tf.ScaleNet(
        TINY_CIFAR, classes=3, classifier_activation=None, sa_block=block
    )
    rng = np.random.default_rng(1)
    for weight in model.weights:
        value = rng.standard_normal(weight.shape) / 3
        weight.assign(np.abs(value) + 0.5 if "variance" in weight.path else value)
    return model


def blocks(model):
    return [layer for layer in model.layers if isinstance(layer, ScaleAggregation)]


@pytest.fixture(params=[AveragePooled, Gated])
def model(request):
    model = trained(request.param)
    assert {type(layer) for layer in blocks(model)} == {request.param}
    return model


def test_a_variant_computes_something_else():
    plain, average, gated = map(trained, (ScaleAggregation, AveragePooled, Gated))
    average.set_weights(plain.get_weights())
    assert np.abs(average(IMAGES) - plain(IMAGES)).max() > 1e-3
    block = blocks(gated)[0]
    x = tf.constant(IMAGES[..., :1].repeat(4, -1))
    ungated = ScaleAggregation.call(block, x)
    weights = block.gate(tf.reduce_mean(ungated, (1, 2), keepdims=True))
    np.testing.assert_allclose(block(x), ungated * weights, rtol=1e-6)


def test_costs_are_those_of_the_variant():
    macs = TINY_CIFAR.macs(classes=3)
    assert scalenet_tf.count_macs(trained(AveragePooled)) == macs
    assert scalenet_tf.count_macs(trained(Gated)) == macs + 6**2 + 9**2


def test_a_folded_variant_is_equal_and_has_no_batch_norms(model):
    expected = model(IMAGES).numpy()
    folded = scalenet_tf.fold_batch_norm(model)
    np.testing.assert_allclose(folded(IMAGES), expected, atol=1e-5, rtol=1e-5)
    assert not any(
        isinstance(layer, keras.layers.BatchNormalization)
        for layer in folded._flatten_layers()
    )
    assert [type(layer) for layer in blocks(folded)] == [type(blocks(model)[0])] * 2
    assert scalenet_tf.count_macs(folded) == scalenet_tf.count_macs(model)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_saved_variant_is_loaded_with_what_was_frozen(model, suffix, tmp_path):
    block = blocks(model)[1]
    list(block.sublayers.values())[-1].trainable = False
    path = tmp_path / f"model{suffix}"
    model.save(path)
    loaded = scalenet_tf.load_model(path)
    assert blocks(loaded)[1].frozen == block.frozen
    assert len(block.frozen) == 1
    np.testing.assert_array_equal(loaded(IMAGES), model(IMAGES))


def test_weights_by_pytorch_names_go_out_and_in(model):
    arrays = pytorch_arrays(model)
    gated = isinstance(blocks(model)[0], Gated)
    assert ("layer1.0.gate.weight" in arrays) is gated
    assert ("layer1.0.conv2.0.bias" in arrays) is gated
    other = scalenet_tf.ScaleNet(
        TINY_CIFAR,
        classes=3,
        classifier_activation=None,
        sa_block=type(blocks(model)[0]),
    )
    scalenet_tf.load_pytorch_weights(other, arrays)
    np.testing.assert_array_equal(other(IMAGES), model(IMAGES))


def test_importance_of_neurons_is_that_of_their_batch_norms(model):
    importance = scalenet_tf.allocation.neuron_importance(model)
    for layer, by_scale in zip(blocks(model), importance, strict=True):
        assert list(by_scale) == [1, 2, 4]
        for scale, norm in layer.norms.items():
            np.testing.assert_array_equal(by_scale[scale], np.abs(norm.gamma.numpy()))
