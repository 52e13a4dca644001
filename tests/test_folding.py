import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from conftest import TINY
from test_models import images, name_of, network, relative_error, slow_but

import scalenet_tf
from scalenet_tf.layers import ScaleAggregation
from scalenet_tf.weights import pytorch_shapes


def tiny_network(**kwargs):
    model = scalenet_tf.ScaleNet(TINY, **kwargs)
    weights = reference.generated_weights(pytorch_shapes(model))
    scalenet_tf.load_pytorch_weights(model, weights)
    return model


def norms(model):
    return [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]


@pytest.mark.parametrize(
    "architecture", [TINY, *slow_but({"ScaleNetCifar38", "ResNetCifar38"})], ids=name_of
)
def test_folded_model_is_equal_at_every_size(architecture):
    options = {"input_shape": (None, None, 3), "classifier_activation": None}
    if architecture is TINY:
        model = tiny_network(**options)
    else:
        model = network(architecture, **options)
        architecture = scalenet_tf.get_architecture(architecture)
    before = model.get_weights()
    folded = scalenet_tf.fold_batch_norm(model)
    assert norms(model)
    assert not norms(folded)
    unknown = tf.function(
        folded, input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)]
    )
    native, smallest = architecture.native_size, architecture.minimum_size
    for size in ((native, native), (61, 45), (smallest, smallest)):
        x = images(2, *size, 3)
        expected = model(x).numpy()
        assert relative_error(folded(x).numpy(), expected) < 1e-5
        assert relative_error(unknown(x).numpy(), expected) < 1e-5
    for weight, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)


def extreme_network(seed):
    """Kernels from 1e-3 to 1e3 times as large, dead channels, gammas of any sign."""
    model = scalenet_tf.ScaleNet(TINY, classifier_activation=None, classes=10)
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Conv2D):
            kernel = rng.standard_normal(layer.kernel.shape)
            kernel *= 10 ** rng.uniform(-3, 3, layer.filters)
            kernel[..., rng.integers(layer.filters)] = 0
            layer.kernel.assign(kernel)
    for norm in norms(model):
        gamma = rng.standard_normal(norm.gamma.shape)
        gamma[rng.integers(len(gamma))] = 0
        norm.gamma.assign(gamma)
        norm.beta.assign(rng.standard_normal(gamma.shape))
        norm.momentum = 0.0
    x = tf.constant(images(16, 56, 56, 3), model.input.dtype)
    model(x, training=True)  # sets the moving statistics
    return model


@pytest.mark.parametrize("seed", range(3))
def test_statistics_of_any_size_and_sign(seed, request):
    x = images(2, 56, 56, 3, seed=1)
    model = extreme_network(seed)
    rounded = [m(x).numpy() for m in (model, scalenet_tf.fold_batch_norm(model))]
    request.getfixturevalue("float64")
    exact = extreme_network(seed)
    exact.set_weights(model.get_weights())
    expected = exact(tf.constant(x, tf.float64)).numpy()
    folded = scalenet_tf.fold_batch_norm(exact)(tf.constant(x, tf.float64)).numpy()
    assert relative_error(folded, expected) < 1e-9
    # In float32 such a model has errors of its own; folding must not add to them.
    own, of_folded = (relative_error(logits, expected) for logits in rounded)
    assert of_folded < max(4 * own, 1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"include_top": False},
        {"include_top": False, "pooling": "max"},
        {"include_top": False, "pooling": "avg", "input_shape": (29, 40, 3)},
        {"classes": 3, "classifier_activation": "sigmoid", "name": "mine"},
        {"input_shape": (32, 32, 1), "classes": 2},
        {"classes": 2, "synchronized": True},
    ],
    ids=str,
)
def test_every_kind_of_model(options):
    model = tiny_network(**options)
    folded = scalenet_tf.fold_batch_norm(model)
    assert folded.name == model.name
    assert folded.input_shape == model.input_shape
    assert folded.output_shape == model.output_shape
    shape = [side or 33 for side in model.input_shape[1:]]
    x = images(2, *shape)
    assert relative_error(folded(x).numpy(), model(x).numpy()) < 1e-5


@pytest.mark.usefixtures("float64")
def test_float64_models_are_folded_in_float64():
    model = tiny_network()
    x = tf.constant(images(2, 56, 56, 3), tf.float64)
    folded = scalenet_tf.fold_batch_norm(model)
    assert folded(x).dtype == tf.float64
    assert relative_error(folded(x).numpy(), model(x).numpy()) < 1e-13
    single = scalenet_tf.fold_batch_norm(model, dtype="float32")
    assert single.input.dtype == single(x).dtype == "float32"
    assert relative_error(single(x).numpy(), model(x).numpy()) < 1e-5


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_stays_and_can_be_left(policy):
    keras.config.set_dtype_policy(policy)
    model = tiny_network(classifier_activation=None)
    keras.config.set_dtype_policy("float32")
    x = images(2, 56, 56, 3)
    expected = tiny_network(classifier_activation=None)(x).numpy()
    folded = scalenet_tf.fold_batch_norm(model)
    for layer in folded.layers[1:]:
        assert layer.compute_dtype == model.get_layer(layer.name).compute_dtype
    tolerance = 2 * relative_error(model(x).numpy(), expected)
    assert relative_error(folded(x).numpy(), expected) < max(tolerance, 0.01)
    exact = scalenet_tf.fold_batch_norm(model, dtype="float32")
    assert relative_error(exact(x).numpy(), expected) < 1e-5


@pytest.mark.parametrize(
    "architecture", [TINY, *slow_but({"ScaleNetCifar38"})], ids=name_of
)
def test_round_trip_and_folding_again_are_bit_identical(architecture, tmp_path):
    model = tiny_network() if architecture is TINY else network(architecture)
    folded = scalenet_tf.fold_batch_norm(model)
    folded.save(tmp_path / "folded.keras")
    loaded = keras.models.load_model(tmp_path / "folded.keras")
    x = images(2, *model.input_shape[1:])
    expected = folded(x).numpy()
    np.testing.assert_array_equal(loaded(x).numpy(), expected)
    again = scalenet_tf.fold_batch_norm(loaded)
    np.testing.assert_array_equal(again(x).numpy(), expected)
    for layer in loaded.layers:
        if isinstance(layer, ScaleAggregation):
            assert layer.folded
            assert not layer.norms


def test_names_pyramid_and_macs_stay():
    model = tiny_network()
    folded = scalenet_tf.fold_batch_norm(model)
    assert [layer.name for layer in folded.layers] == [
        layer.name for layer in model.layers if not layer.name.count("bn")
    ]
    assert scalenet_tf.count_macs(folded) == scalenet_tf.count_macs(model)
    x = images(1, 56, 56, 3)
    pyramids = [
        keras.Model(source.input, scalenet_tf.feature_pyramid(source))
        for source in (model, folded)
    ]
    expected = pyramids[0](x)
    for pyramid in (pyramids[1], scalenet_tf.fold_batch_norm(pyramids[0])):
        actual = pyramid(x)
        assert list(actual) == ["P2", "P3", "P4", "P5"]
        for level, features in expected.items():
            assert relative_error(actual[level].numpy(), features.numpy()) < 1e-5


def test_compiled_models_with_an_input_of_their_own():
    raw = keras.Input((56, 56, 3), dtype="uint8")
    model = tiny_network(input_tensor=scalenet_tf.preprocess_input(raw))
    model.compile("sgd", loss=lambda labels, outputs: outputs)
    folded = scalenet_tf.fold_batch_norm(model)
    assert not folded.compiled
    x = np.random.default_rng(0).integers(0, 256, (2, 56, 56, 3), np.uint8)
    assert relative_error(folded(x).numpy(), model(x).numpy()) < 1e-5


def doubled(logits):
    return 2 * logits


def test_an_activation_of_ones_own():
    model = tiny_network(classifier_activation=doubled)
    x = images(2, 56, 56, 3)
    folded = scalenet_tf.fold_batch_norm(model)
    assert relative_error(folded(x).numpy(), model(x).numpy()) < 1e-5


def test_models_inside_models_and_other_layers():
    model = keras.Sequential(
        [
            keras.Input((56, 56, 3)),
            tiny_network(include_top=False, pooling="avg"),
            keras.layers.Dropout(0.5),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(3),
        ]
    )
    folded = scalenet_tf.fold_batch_norm(model)
    assert len(norms(folded)) == 1
    x = images(2, 56, 56, 3)
    assert relative_error(folded(x).numpy(), model(x).numpy()) < 1e-5


def test_a_vocabulary_is_copied():
    lookup = keras.layers.StringLookup(output_mode="one_hot")
    lookup.adapt(["a", "b", "c"])
    words = keras.Input((1,), dtype="string")
    body = scalenet_tf.ScaleNet(TINY, include_top=False, pooling="avg")
    photos = keras.Input((56, 56, 3))
    x = keras.layers.Concatenate()([body(photos), lookup(words)])
    model = keras.Model([photos, words], keras.layers.Dense(2)(x))
    given = [tf.constant(images(2, 56, 56, 3)), tf.constant([["b"], ["z"]])]
    folded = scalenet_tf.fold_batch_norm(model)
    np.testing.assert_allclose(folded(given), model(given), rtol=1e-4, atol=1e-5)


def test_a_convolution_whose_output_is_asked_for_stays():
    model = tiny_network()
    names = ("stem_conv", "stem_bn", "logits")
    probe = keras.Model(model.input, [model.get_layer(name).output for name in names])
    folded = scalenet_tf.fold_batch_norm(probe)
    x = images(2, 56, 56, 3)
    for actual, expected in zip(folded(x), probe(x), strict=True):
        assert relative_error(actual.numpy(), expected.numpy()) < 1e-5


def test_a_convolution_whose_output_goes_elsewhere_too_stays():
    model = tiny_network()
    inner = model.get_layer("stem_conv").output
    aside = keras.layers.GlobalAveragePooling2D()(inner)
    both = keras.Model(model.input, [model.output, aside])
    folded = scalenet_tf.fold_batch_norm(both)
    x = images(2, 56, 56, 3)
    for actual, expected in zip(folded(x), both(x), strict=True):
        assert relative_error(actual.numpy(), expected.numpy()) < 1e-5
    assert [norm.name for norm in norms(folded)] == ["stem_bn"]


def test_layers_that_another_model_called_first_are_folded():
    model = tiny_network()
    same = keras.models.clone_model(
        model,
        input_tensors=keras.Input((56, 56, 3)),
        clone_function=lambda layer: layer,
    )
    assert not norms(scalenet_tf.fold_batch_norm(same))
    assert not norms(scalenet_tf.fold_batch_norm(model))


def test_what_cannot_be_folded_is_an_error():
    dense = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="mlp")
    for model in (dense, tiny_network, keras.Model()):
        with pytest.raises(ValueError, match="`model` must be a model of this package"):
            scalenet_tf.fold_batch_norm(model)


@pytest.mark.parametrize("dtype", ["int32", "float", 3, tf.string])
def test_a_data_type_that_is_not_floating_is_an_error(dtype):
    with pytest.raises(ValueError, match="`dtype` must be a floating data type"):
        scalenet_tf.fold_batch_norm(tiny_network(), dtype)


def test_a_policy_is_taken_as_its_name_is():
    policy = keras.DTypePolicy("mixed_bfloat16")
    folded = scalenet_tf.fold_batch_norm(tiny_network(), policy)
    assert folded.get_layer("stem_conv").dtype_policy.name == "mixed_bfloat16"


def test_pytorch_weights_into_a_folded_model_are_an_error():
    model = tiny_network()
    weights = reference.generated_weights(pytorch_shapes(model))
    with pytest.raises(ValueError, match="load the weights, then fold"):
        scalenet_tf.load_pytorch_weights(scalenet_tf.fold_batch_norm(model), weights)


def test_a_folded_model_has_no_importance_of_neurons_any_more():
    folded = scalenet_tf.fold_batch_norm(tiny_network())
    with pytest.raises(ValueError, match=r"must have its batch norms"):
        scalenet_tf.allocation.neuron_importance(folded)
