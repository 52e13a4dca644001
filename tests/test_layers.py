import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import scalenet_tf
from scalenet_tf.layers import ScaleAggregation

SIZES = [(8, 8), (14, 14), (7, 7), (9, 13), (5, 3), (1, 1)]


def random(*shape, dtype=tf.float64):
    return tf.constant(np.random.default_rng(0).standard_normal(shape), dtype)


def block(**kwargs):
    layer = ScaleAggregation([2, 3, 1, 2], scales=(1, 2, 4, 7), **kwargs)
    layer.build((None, None, None, 5))
    for norm in layer.norms.values():
        shape = norm.gamma.shape
        norm.gamma.assign(random(*shape))
        norm.beta.assign(random(*shape))
        norm.moving_mean.assign(random(*shape))
        norm.moving_variance.assign(1 + random(*shape) ** 2)
    return layer


def by_the_book(layer, x, training):
    """The block step by step: pool, convolve, upsample, normalise, concatenate."""
    size = x.shape[1:3]
    branches = []
    for key, conv in layer.convs.items():
        window = [min(key, side) for side in size]
        y = conv(tf.nn.max_pool2d(x, window, window, "VALID"))
        rows, columns = (
            _weights(big, small) for big, small in zip(size, y.shape[1:3], strict=True)
        )
        if size[0] % y.shape[1] or size[1] % y.shape[2]:
            y = tf.einsum("Hh,Ww,bhwc->bHWc", rows, columns, y)
        else:
            y = tf.repeat(y, size[0] // y.shape[1], axis=1)
            y = tf.repeat(y, size[1] // y.shape[2], axis=2)
        branches.append(layer.norms[key](y, training=training))
    return tf.nn.relu(tf.concat(branches, -1))


def _weights(big, small):
    """Matrix of bilinear interpolation with half-pixel centres."""
    matrix = np.zeros((big, small))
    for row in range(big):
        centre = np.clip((row + 0.5) * small / big - 0.5, 0, small - 1)
        for column in range(small):
            matrix[row, column] = max(0, 1 - abs(centre - column))
    return matrix


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_outputs_gradients_and_statistics_are_those_of_the_definition(size, training):
    x = random(3, *size, 5)
    results = []
    start = block().get_weights()
    for function in (ScaleAggregation.__call__, by_the_book):
        layer = block()
        layer.set_weights(start)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(layer, x, training=training)
            loss = tf.reduce_sum(y * random(*y.shape))
        variables = [v.value for v in layer.trainable_weights]
        gradients = tape.gradient(loss, [x, *variables])
        results.append([y, *gradients, *layer.get_weights()])
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("training", [False, True])
def test_unknown_sizes_follow_the_same_rule_forward_and_back(training):
    layer = block()
    start = layer.get_weights()
    variables = [v.value for v in layer.trainable_weights]

    def step(x):
        with tf.GradientTape() as tape:
            y = layer(x, training=training)
            loss = tf.reduce_sum(y**2)
        return [y, *tape.gradient(loss, variables)]

    unknown = tf.function(
        step, input_signature=[tf.TensorSpec((None, None, None, 5), tf.float64)]
    )
    for size in SIZES:
        x = random(2, *size, 5)
        layer.set_weights(start)
        expected = step(x)
        layer.set_weights(start)
        for actual, wanted in zip(unknown(x), expected, strict=True):
            np.testing.assert_allclose(actual, wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_dtypes(dtype):
    layer = block(dtype=dtype)
    for size in SIZES:
        x = random(2, *size, 5, dtype=layer.compute_dtype)
        for training in (False, True):
            y = layer(x, training=training)
            assert y.dtype == layer.compute_dtype
            assert np.isfinite(tf.cast(y, tf.float32)).all()
    assert {weight.dtype for weight in layer.weights} == {"float32"}


@pytest.mark.parametrize("size", [(14, 14), (9, 13), (3, 3)], ids=str)
def test_tflite_converts_with_core_operations_alone(size):
    from ai_edge_litert.interpreter import Interpreter

    inputs = keras.Input((*size, 5), batch_size=1)
    model = keras.Model(inputs, block()(inputs))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    x = random(1, *size, 5, dtype=tf.float32).numpy()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    y = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(y, model(x), rtol=1e-4, atol=1e-5)
    names = {op["op_name"] for op in interpreter._get_ops_details()}
    assert "RESIZE_NEAREST_NEIGHBOR" in names or size != (14, 14)
    assert not names & {"BROADCAST_TO", "TRANSPOSE"}


def test_config_round_trip():
    layer = ScaleAggregation(
        [2, 0, 1], scales=(1, 2, 4), kernel_sizes=(3, 3, 1), synchronized=True, name="x"
    )
    config = keras.saving.serialize_keras_object(layer)
    assert config["registered_name"] == "scalenet_tf>ScaleAggregation"
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == layer.get_config()
    assert list(again.convs) == [1, 4]
    assert again.convs[4].kernel_size == (1, 1)


def test_a_regularizer_of_kernels_is_kept():
    layer = block(kernel_regularizer="l2")
    assert len(layer.losses) == len(layer.convs)
    again = type(layer).from_config(layer.get_config())
    again.build((None, None, None, 5))
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again.losses, layer.losses)
    assert float(sum(layer.losses)) > 0
    assert layer.folded_config()["kernel_regularizer"] is None
    assert "kernel_regularizer" not in block().get_config()


def test_tensorflow_checkpoints_hold_every_weight(tmp_path):
    layer, other = block(), block()
    path = tf.train.Checkpoint(layer=layer).save(tmp_path / "checkpoint")
    for weight in other.weights:
        weight.assign(tf.zeros_like(weight) - 1)
    tf.train.Checkpoint(layer=other).restore(path).assert_consumed()
    for weight, expected in zip(other.weights, layer.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_scales_without_neurons_do_not_exist():
    layer = ScaleAggregation([0, 3], scales=(1, 2))
    assert layer(random(1, 4, 4, 2, dtype=tf.float32)).shape == (1, 4, 4, 3)
    assert len(layer.weights) == 5


def test_frozen_layer_keeps_its_statistics():
    layer = block()
    layer.trainable = False
    before = layer.get_weights()
    layer(random(2, 8, 8, 5, dtype=tf.float32), training=True)
    for weight, expected in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"channels": [1, 2]}, r"one entry for each of `scales`.*channels=\[1, 2\]"),
        ({"channels": [1], "scales": [0]}, r"`scales` must be whole.*\[0\]"),
        ({"channels": [1, 1], "scales": [2, 1]}, r"ascending.*\[2, 1\]"),
        ({"channels": [-1, 2], "scales": [1, 2]}, r"none negative.*\[-1, 2\]"),
        ({"channels": [0, 0], "scales": [1, 2]}, r"not all zero.*\[0, 0\]"),
    ],
)
def test_arguments_that_do_not_fit_are_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ScaleAggregation(**kwargs)


@pytest.mark.parametrize("policy", ["bfloat16", "float16"])
def test_16_bits_alone_train_and_predict(policy, tiny):
    keras.config.set_dtype_policy(policy)
    model = scalenet_tf.ScaleNet(tiny, classes=3)
    x = np.random.default_rng(0).normal(size=(4, 56, 56, 3))
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(x, np.array([0, 1, 2, 0]), verbose=0)
    found = keras.ops.convert_to_numpy(model(x)).astype(float)
    np.testing.assert_allclose(found.sum(1), 1, atol=0.05)


def test_a_block_takes_numbers_of_numpy():
    block = ScaleAggregation(
        np.array([2, 3]), scales=np.array([1, 2]), kernel_sizes=np.int64(3)
    )
    same = ScaleAggregation.from_config(json.loads(json.dumps(block.get_config())))
    assert (same.channels, same.scales, same.kernel_sizes) == ((2, 3), (1, 2), (3, 3))


def test_numbers_that_are_not_whole_are_an_error():
    with pytest.raises(ValueError, match=r"`channels` must be whole numbers. Received"):
        ScaleAggregation([2.5, 3], scales=(1, 2))
