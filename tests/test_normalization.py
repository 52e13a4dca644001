import keras
import numpy as np
import pytest
import tensorflow as tf

from scalenet_tf.layers.normalization import (
    BATCH_NORM,
    BatchNormalization,
    SynchronizedBatchNormalization,
    make_batch_norm,
)

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
def test_alone_it_is_the_batch_norm_of_one_replica(training):
    layers = [make_batch_norm("bn", synchronized=s) for s in (True, False)]
    for _ in range(2):
        outputs = [layer(X.astype("float32"), training=training) for layer in layers]
        np.testing.assert_array_equal(*outputs)
    for left, right in zip(layers[0].weights, layers[1].weights, strict=True):
        np.testing.assert_array_equal(left.numpy(), right.numpy())


def keras_and_own(dtype):
    """Keras' layer and ours, with equal weights that matter."""
    layers = [
        kind(name="bn", dtype=dtype, **BATCH_NORM)
        for kind in (keras.layers.BatchNormalization, BatchNormalization)
    ]
    for layer in layers:
        layer.build(X.shape)
        layer.gamma.assign([1.0, -2.0, 0.5, 3.0])
        layer.beta.assign([0.1, 0.2, -0.3, 0.0])
        layer.moving_mean.assign([3.0, 2.0, 1.0, 0.0])
        layer.moving_variance.assign([1.0, 2.0, 3.0, 4.0])
    return layers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outputs_and_gradients_are_those_of_keras(dtype):
    keras.config.set_floatx(dtype)
    tolerance = 1e-4 if dtype == "float32" else 1e-12
    theirs, own = keras_and_own(dtype)
    x = tf.constant(X, dtype)
    np.testing.assert_allclose(own(x), theirs(x), rtol=tolerance, atol=tolerance)
    results = [trained_once(layer, X, WEIGHTS) for layer in (own, theirs)]
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)
    count = X[..., 0].size
    unbiased = X.var((0, 1, 2)) * count / (count - 1)
    variance = 0.9 * np.array([1.0, 2.0, 3.0, 4.0]) + 0.1 * unbiased
    np.testing.assert_allclose(own.moving_mean, theirs.moving_mean, rtol=tolerance)
    np.testing.assert_allclose(own.moving_variance, variance, rtol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("training", [False, True])
def test_the_fused_operation_computes_where_it_can(dtype, training):
    layer = BatchNormalization(name="bn", dtype=dtype, **BATCH_NORM)
    layer.build((None, 3, 5, 4))
    graph = tf.function(lambda x: layer(x, training=training)).get_concrete_function(
        tf.TensorSpec((None, 3, 5, 4), layer.compute_dtype)
    )
    operations = {operation.type for operation in graph.graph.get_operations()}
    assert "FusedBatchNormV3" in operations
    assert not operations & {"SquaredDifference", "Rsqrt"}
    assert graph.output_dtypes == tf.as_dtype(layer.compute_dtype)


@pytest.mark.parametrize("repeats", [1, 4])
@pytest.mark.parametrize("shape", [(8, 3, 5, 4), (None, None, None, 4)])
def test_the_variance_counts_the_pixels_after_upsampling(repeats, shape):
    layer = BatchNormalization(name="bn", **BATCH_NORM)
    layer.build(X.shape)

    @tf.function(input_signature=[tf.TensorSpec(shape)])
    def run(x):
        return layer(x, training=True, repeats=repeats)

    run(X.astype("float32"))
    count = X[..., 0].size * repeats
    expected = 0.9 + 0.1 * X.var((0, 1, 2)) * count / (count - 1)
    np.testing.assert_allclose(layer.moving_variance, expected, rtol=1e-6)


def test_a_single_value_has_no_variance():
    layer = BatchNormalization(name="bn", **BATCH_NORM)
    layer(np.full((1, 1, 1, 4), 7.0, np.float32), training=True)
    np.testing.assert_allclose(layer.moving_variance, [0.9] * 4, rtol=1e-6)
    np.testing.assert_allclose(layer.moving_mean, [0.7] * 4, rtol=1e-6)


def test_xla_gives_the_same():
    layer = BatchNormalization(name="bn", **BATCH_NORM)
    layer.build(X.shape)
    start = layer.get_weights()
    expected = trained_once(layer, X, WEIGHTS)
    moved = layer.get_weights()
    layer.set_weights(start)
    compiled = tf.function(lambda: trained_once(layer, X, WEIGHTS), jit_compile=True)
    for actual, value in zip(compiled(), expected, strict=True):
        np.testing.assert_allclose(actual, value, rtol=1e-4, atol=1e-4)
    for actual, value in zip(layer.get_weights(), moved, strict=True):
        np.testing.assert_allclose(actual, value, rtol=1e-5)


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


def test_the_argument_of_keras_synchronises_too():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        layer = BatchNormalization(synchronized=True, momentum=0.0)
        layer.build((None, 2, 2, 1))

    @tf.function
    def step():
        def replica():
            at = tf.distribute.get_replica_context().replica_id_in_sync_group
            x = tf.fill((2, 2, 2, 1), 10.0 * tf.cast(at, tf.float32))
            return layer(x, training=True)

        return strategy.run(replica)

    low, high = (float(output[0, 0, 0, 0]) for output in step().values)
    assert (low, high) == pytest.approx((-1, 1), abs=1e-4)
    assert float(layer.moving_mean.numpy()[0]) == 5
    assert float(layer.moving_variance.numpy()[0]) == pytest.approx(25 * 16 / 15)
