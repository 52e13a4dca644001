import keras
import numpy as np
import pytest
import tensorflow as tf

from scalenet_tf.normalization import SynchronizedBatchNormalization, make_batch_norm

X = np.random.default_rng(0).normal(3.0, 2.0, (8, 3, 5, 4))
WEIGHTS = np.random.default_rng(1).normal(size=X.shape)


def trained_once(layer, x, weights):
    """Output, gradients of a weighted sum for input, gamma and beta."""
    x = tf.convert_to_tensor(x, keras.config.floatx())
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = layer(x, training=True)
        loss = tf.reduce_sum(output * tf.cast(weights, output.dtype))
    variables = [layer.gamma.value, layer.beta.value]
    return [output, *tape.gradient(loss, [x, *variables])]


def mirrored():
    return tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )


@pytest.mark.usefixtures("float64")
def test_two_replicas_normalise_as_one_with_both_halves():
    strategy = mirrored()
    with strategy.scope():
        layer = make_batch_norm("bn", synchronized=True)
        layer.build(X.shape)
    alone = make_batch_norm("bn", synchronized=False)
    alone.build(X.shape)
    for other in (layer, alone):
        other.gamma.assign([1.0, -2.0, 0.5, 3.0])

    @tf.function
    def step():
        def replica():
            context = tf.distribute.get_replica_context()
            start = 4 * context.replica_id_in_sync_group
            x, weights = (tf.constant(a)[start : start + 4] for a in (X, WEIGHTS))
            return trained_once(layer, x, weights)

        return strategy.run(replica)

    output, by_x, by_gamma, by_beta = (value.values for value in step())
    expected = trained_once(alone, X, WEIGHTS)
    np.testing.assert_allclose(tf.concat(output, 0), expected[0], atol=1e-12)
    np.testing.assert_allclose(tf.concat(by_x, 0), expected[1], atol=1e-12)
    np.testing.assert_allclose(sum(by_gamma), expected[2], atol=1e-11)
    np.testing.assert_allclose(sum(by_beta), expected[3], atol=1e-11)
    for name in ("moving_mean", "moving_variance"):
        wanted = getattr(alone, name).numpy()
        for value in getattr(layer, name).value.values:
            np.testing.assert_allclose(value, wanted, atol=1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_alone_it_is_the_batch_norm_of_keras(training):
    layer = make_batch_norm("bn", synchronized=True)
    keras_layer = make_batch_norm("bn", synchronized=False)
    assert type(keras_layer) is keras.layers.BatchNormalization
    for _ in range(2):
        actual, expected = (
            other(X.astype("float32"), training=training)
            for other in (layer, keras_layer)
        )
        np.testing.assert_array_equal(actual, expected)
    for left, right in zip(layer.weights, keras_layer.weights, strict=True):
        np.testing.assert_array_equal(left.numpy(), right.numpy())


def test_frozen_and_in_inference_replicas_use_what_they_have():
    strategy = mirrored()
    with strategy.scope():
        layer = make_batch_norm("bn", synchronized=True)
        layer.build(X.shape)
    layer.moving_mean.assign([1.0, 2.0, 3.0, 4.0])
    expected = layer(X.astype("float32"), training=False).numpy()
    layer.trainable = False
    for training in (False, True):
        outputs = strategy.run(
            lambda training=training: layer(X.astype("float32"), training=training)
        )
        for output in outputs.values:
            np.testing.assert_array_equal(output, expected)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), [1.0, 2.0, 3.0, 4.0])


def test_it_computes_in_float32_under_mixed_precision():
    strategy = mirrored()
    with strategy.scope():
        layer = make_batch_norm("bn", True, dtype="mixed_bfloat16")
        layer.build(X.shape)
    x = tf.cast(X * 100 + 1000, "bfloat16")

    @tf.function
    def step():
        return strategy.run(lambda: layer(x, training=True))

    output = step().values[0]
    assert output.dtype == tf.bfloat16
    wide = tf.cast(x, tf.float32).numpy()
    expected = (wide - wide.mean((0, 1, 2))) / np.sqrt(wide.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(tf.cast(output, tf.float32), expected, atol=0.02)


def test_it_is_saved_and_loaded(tmp_path):
    inputs = keras.Input((3, 5, 4))
    model = keras.Model(inputs, make_batch_norm("bn", synchronized=True)(inputs))
    model.layers[1].moving_mean.assign([1.0, 2.0, 3.0, 4.0])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again.layers[1]) is SynchronizedBatchNormalization
    np.testing.assert_array_equal(again(X), model(X))
