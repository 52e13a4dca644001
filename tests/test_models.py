import copy
import functools
import inspect

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from conftest import ALL_NETWORKS, TINY

import scalenet_tf
from scalenet_tf.models.networks import ModelOptions
from scalenet_tf.weights import pytorch_shapes


def slow_but(quick):
    """All networks, those that are not `quick` marked as slow."""
    return [
        name if name in quick else pytest.param(name, marks=pytest.mark.slow)
        for name in ALL_NETWORKS
    ]


def network(name, **kwargs):
    """A network with weights and BN statistics that matter."""
    model = scalenet_tf.create_model(name, **kwargs)
    weights = reference.generated_weights(pytorch_shapes(model))
    scalenet_tf.load_pytorch_weights(model, weights)
    return model


def images(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def relative_error(actual, expected):
    return np.abs(actual - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", slow_but({"ScaleNetCifar38"}))
def test_logits_equal_pytorch_at_every_size(name):
    model = network(name, input_shape=(None, None, 3), classifier_activation=None)
    architecture = scalenet_tf.get_architecture(name)
    weights = reference.generated_weights(pytorch_shapes(model))
    native = architecture.native_size
    smallest = architecture.minimum_size
    unknown = tf.function(
        model, input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)]
    )
    for size in ((native, native), (61, 45), (32, 32), (smallest, smallest)):
        x = images(2, *size, 3)
        expected = reference.pytorch_logits(architecture, weights, x)
        assert relative_error(model(x).numpy(), expected) < 1e-5
        assert relative_error(unknown(x).numpy(), expected) < 1e-5


@pytest.mark.parametrize("name", slow_but({"ScaleNetCifar38"}))
def test_keras_file_and_weights_file_round_trips_are_bit_identical(name, tmp_path):
    model = network(name, input_shape=(None, None, 3))
    x = images(2, 40, 33, 3)
    expected = model(x).numpy()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [layer.name for layer in loaded.layers] == [la.name for la in model.layers]
    np.testing.assert_array_equal(loaded(x).numpy(), expected)
    model.save_weights(tmp_path / "model.weights.h5")
    again = scalenet_tf.create_model(
        name, input_shape=(None, None, 3), weights=tmp_path / "model.weights.h5"
    )
    np.testing.assert_array_equal(again(x).numpy(), expected)


@pytest.mark.parametrize("name", slow_but({"ScaleNetCifar38"}))
def test_mixed_bfloat16_runs_the_blocks_in_bfloat16(name):
    keras.config.set_dtype_policy("mixed_bfloat16")
    size = scalenet_tf.get_architecture(name).minimum_size
    model = network(name, input_shape=(size, size, 3))
    for layer in model.layers:
        if isinstance(layer, scalenet_tf.layers.ScaleAggregation):
            assert layer.output.dtype == "bfloat16"
            assert {conv.compute_dtype for conv in layer.convs.values()} == {"bfloat16"}
            x = tf.cast(images(1, *layer.input.shape[1:]), tf.bfloat16)
            assert layer(x).dtype == tf.bfloat16
            assert layer(x, training=True).dtype == tf.bfloat16
    probabilities = model(images(2, size, size, 3))
    assert probabilities.dtype == tf.float32
    np.testing.assert_allclose(tf.reduce_sum(probabilities, 1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", slow_but(set()))
def test_export_gives_what_predict_gives(name, tmp_path):
    model = network(name, classifier_activation=None)
    size = model.input_shape[1]
    x = images(2, size, size, 3)
    model.export(tmp_path / "saved", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "saved")
    served = loaded.serve(x).numpy()
    assert relative_error(served, model.predict(x, verbose=0)) < 1e-5


TRAINED = [TINY, *slow_but(set())]


def name_of(architecture):
    return getattr(architecture, "name", architecture)


def small_model(architecture, **kwargs):
    """A network at the smallest size that has batch statistics in every map."""
    side = 56 if architecture is TINY else 64
    return scalenet_tf.ScaleNet(
        architecture, input_shape=(side, side, 3), classes=10, **kwargs
    )


def loss_and_gradients(model, x, labels):
    with tf.GradientTape() as tape:
        logits = model(x, training=True)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        )
    return loss, tape.gradient(loss, [v.value for v in model.trainable_weights])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("architecture", TRAINED, ids=name_of)
def test_every_weight_learns_and_xla_agrees(architecture):
    model = small_model(architecture, classifier_activation=None)
    side = model.input_shape[1]
    x, labels = tf.constant(images(4, side, side, 3), tf.float64), tf.range(4)
    start = model.get_weights()
    loss, gradients = loss_and_gradients(model, x, labels)
    after = model.get_weights()
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None, weight.path
        assert np.isfinite(gradient).all(), weight.path
        assert np.abs(gradient).max() > 0, weight.path
    model.set_weights(start)
    expected = model(x)

    @tf.function(jit_compile=True)  # both passes in one function compile faster
    def compiled():
        return model(x), *loss_and_gradients(model, x, labels)

    inference, xla_loss, xla_gradients = compiled()
    np.testing.assert_allclose(inference, expected, rtol=1e-9, atol=1e-12)
    assert float(xla_loss) == pytest.approx(float(loss), rel=1e-9)
    for plain, xla in zip(gradients, xla_gradients, strict=True):
        assert relative_error(xla.numpy(), plain.numpy()) < 1e-8
    for plain, xla in zip(after, model.get_weights(), strict=True):
        assert np.abs(xla - plain).max() <= 1e-9 * np.abs(plain).max()


@pytest.mark.parametrize("architecture", TRAINED, ids=name_of)
def test_fit_evaluate_and_predict_work_as_for_any_keras_model(architecture):
    model = small_model(architecture)
    side = model.input_shape[1]
    x, labels = images(4, side, side, 3), np.arange(4)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, labels, batch_size=2, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert set(model.evaluate(x, labels, return_dict=True, verbose=0)) == {
        "loss",
        "accuracy",
    }
    assert model.predict(x, verbose=0).shape == (4, 10)


@pytest.mark.parametrize("name", ALL_NETWORKS)
def test_signature_is_that_of_keras_applications(name):
    def parameters(function):
        return [
            (p.name, p.default)
            for p in inspect.signature(function).parameters.values()
            if p.name not in ("weights", "classes", "name")
        ]

    function = getattr(scalenet_tf, name)
    assert parameters(function) == parameters(keras.applications.ResNet50)
    assert list(inspect.signature(function).parameters) == list(
        inspect.signature(keras.applications.ResNet50).parameters
    )
    assert inspect.signature(function).parameters["classes"].default is None
    classes = 100 if "Cifar" in name else 1000
    words = " ".join(function.__doc__.split())
    assert f"those of the weights; without weights {classes}." in words
    assert function.__name__ == name
    assert name in function.__doc__


def test_a_type_checker_knows_all_options_of_a_network():
    parameters = inspect.signature(scalenet_tf.ScaleNet).parameters
    assert list(ModelOptions.__annotations__) == list(parameters)[1:]


def test_published_network_without_arguments():
    model = scalenet_tf.ScaleNet50(weights=None)
    assert model.name == "scalenet50"
    assert model.input_shape == (None, 224, 224, 3)
    assert model.output_shape == (None, 1000)
    assert model.layers[-1].activation is keras.activations.softmax


@pytest.mark.parametrize(
    ("pooling", "shape"),
    [(None, (2, 1, 1, 32)), ("avg", (2, 32)), ("max", (2, 32))],
)
def test_without_top(tiny, pooling, shape):
    model = scalenet_tf.ScaleNet(tiny, include_top=False, pooling=pooling)
    assert model.input_shape == (None, None, None, 3)
    assert model(images(2, 56, 56, 3)).shape == shape


def test_classes_activation_and_name(tiny):
    model = scalenet_tf.ScaleNet(
        tiny, classes=7, classifier_activation="sigmoid", name="mine"
    )
    assert (model.name, model.output_shape) == ("mine", (None, 7))
    assert model.layers[-1].activation is keras.activations.sigmoid


def test_input_tensor_of_ones_own(tiny):
    raw = keras.Input((56, 56, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255)(raw)
    model = scalenet_tf.ScaleNet(tiny, input_tensor=scaled, classes=5)
    assert model.inputs[0] is raw
    assert model(np.zeros((1, 56, 56, 3), np.uint8)).shape == (1, 5)


def test_weights_with_a_top_load_without_it(tiny, tmp_path):
    path = tmp_path / "tiny.weights.h5"
    full = scalenet_tf.ScaleNet(tiny, classes=5)
    full.save_weights(path)
    body = scalenet_tf.ScaleNet(tiny, include_top=False, weights=path)
    for weight, expected in zip(body.weights, full.weights[:-2], strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        pytest.param(
            "ScaleNet50",
            {"P2": 4, "P3": 8, "P4": 16, "P5": 32},
            marks=pytest.mark.slow,
        ),
        ("ScaleNetCifar38", {"P0": 1, "P1": 2, "P2": 4}),
    ],
)
def test_feature_pyramid_has_the_stages_strides(name, levels, tmp_path):
    model = scalenet_tf.create_model(name, include_top=False, input_shape=(64, 64, 3))
    model.save(tmp_path / "model.keras")
    for source in (model, keras.models.load_model(tmp_path / "model.keras")):
        pyramid = scalenet_tf.feature_pyramid(source)
        assert {level: 64 // p.shape[1] for level, p in pyramid.items()} == levels
        features = keras.Model(source.input, pyramid)(images(1, 64, 64, 3))
        assert list(features) == list(levels)


COPIES = {
    "as built": lambda model: model,
    ".keras": lambda model: keras.saving.load_model(saved(model, "a.keras")),
    ".h5": lambda model: keras.saving.load_model(saved(model, "a.h5")),
    "JSON": lambda model: keras.models.model_from_json(model.to_json()),
    "clone_model": keras.models.clone_model,
    "deepcopy": copy.deepcopy,
    "folded": scalenet_tf.fold_batch_norm,
}


def saved(model, path):
    model.save(path)
    return path


@pytest.mark.parametrize("way", COPIES)
def test_networks_carry_their_pyramid(way, tiny, tmp_path, monkeypatch):
    """As KerasHub's detectors ask for it; the height and width may be unknown."""
    monkeypatch.chdir(tmp_path)
    body = scalenet_tf.ScaleNet(tiny, include_top=False)
    model = COPIES[way](body)
    assert isinstance(model, keras.Model)
    pyramid = model.pyramid_outputs
    assert [*pyramid] == ["P2", "P3", "P4", "P5"]
    assert all(isinstance(tensor, keras.KerasTensor) for tensor in pyramid.values())
    assert pyramid["P5"] is model.output
    maps = keras.Model(model.input, pyramid)(images(1, 64, 96, 3))
    channels = [4 * width for width in tiny.stage_widths]
    expected = [(1, 64 // s, 96 // s) for s in (4, 8, 16, 32)]
    assert [tuple(p.shape) for p in maps.values()] == [
        (*shape, depth) for shape, depth in zip(expected, channels, strict=True)
    ]
    if way not in ("clone_model", "JSON"):  # whose weights are new
        found = body(images(1, 64, 96, 3))
        np.testing.assert_allclose(maps["P5"], found, rtol=1e-5, atol=1e-5)


def test_feature_pyramid_of_a_network_inside_a_model_says_what_to_pass(tiny):
    body = scalenet_tf.ScaleNet(tiny, include_top=False, pooling="avg")
    layers = [keras.Input((56, 56, 3)), body, keras.layers.Dense(2)]
    inner = keras.Sequential(layers, name="inner")
    inputs = keras.Input((56, 56, 3))
    model = keras.Model(inputs, inner(inputs))
    with pytest.raises(ValueError, match="must be a model of this package") as refused:
        scalenet_tf.feature_pyramid(model)
    named = "model.get_layer('inner').get_layer('tiny')"
    assert str(refused.value).endswith(f" Pass the network inside it: {named}.")
    network = eval(named, {"model": model})
    features = keras.Model(network.input, scalenet_tf.feature_pyramid(network))
    x = images(1, 56, 56, 3)
    pooled = features(x)["P5"].numpy().mean((1, 2))
    np.testing.assert_allclose(pooled, body(x), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"network inside it: model\.get_layer"):
        scalenet_tf.load_pytorch_weights(model, {})


def test_feature_pyramid_of_another_model_is_an_error():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="`model` must be a model of this package"):
        scalenet_tf.feature_pyramid(model)


def test_layer_names_are_stable(tiny):
    names = [layer.name for layer in scalenet_tf.ScaleNet(tiny).layers]
    assert len(names) == len(set(names))
    assert {
        "stem_conv",
        "stem_pool",
        "stage1_block1_shortcut_conv",
        "stage1_block2_sa",
        "stage2_block1_pool",
        "stage4_block1_out",
        "avg_pool",
        "logits",
        "predictions",
    } <= set(names)


def test_initial_weights_have_the_recipes_variance():
    model = scalenet_tf.ScaleNet50()
    for name, fan_out in [("stem_conv", 49 * 64), ("stage4_block1_conv3", 2048)]:
        kernel = model.get_layer(name).kernel.numpy()
        assert kernel.std() == pytest.approx(np.sqrt(2 / fan_out), rel=0.05)
        # a truncated normal would have none beyond two standard deviations
        assert np.abs(kernel).max() > 3 * kernel.std()
    sa = model.get_layer("stage4_block3_sa")
    kernel = sa.convs[2].kernel.numpy()
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 462)), rel=0.05)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"classes": 0}, r"`classes` must be a positive.*Received: classes=0"),
        ({"pooling": "mean"}, r"`pooling` must be None, 'avg' or 'max'.*'mean'"),
        (
            {"weights": "imagenet"},
            r"no ImageNet weights.*Eli-YiLi/ScaleNet",
        ),
        ({"weights": "no.weights.h5"}, r"`weights` must be None or the path"),
        ({"input_shape": (28, 40, 3)}, r"at least 29 pixels.*\(28, 40, 3\)"),
        ({"input_shape": (56, 56)}, r"`input_shape` must be \(height, width, chann"),
        ({"input_shape": 56}, r"`input_shape` must be \(height.*=56\."),
        ({"input_shape": ("56", 56, 3)}, r"`input_shape` must be \(height.*\('56'"),
        ({"input_tensor": "x"}, "`input_tensor` must be a tensor .* Received: 'x'"),
        ({"weights": 3}, "`weights` must be None, the path .* weights=3"),
        ({"weights": b"cifar10"}, "`weights` must be None, .* weights=b'cifar10'"),
        ({"sa_block": "x"}, "`sa_block` must be ScaleAggregation or .*: 'x'"),
        ({"classes": 10.0}, r"`classes` must be a positive whole.*classes=10\.0"),
        ({"classes": "10"}, "`classes` must be a positive whole.*classes='10'"),
    ],
)
def test_arguments_out_of_range_are_errors(tiny, kwargs, message):
    with pytest.raises(ValueError, match=message):
        scalenet_tf.ScaleNet(tiny, **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "meant"),
    [
        ({"num_classes": 10}, "argument `num_classes`. It is `classes` here."),
        ({"pretrained": True}, "argument `pretrained`. It is `weights` here."),
        ({"clases": 10}, "argument `clases`. Did you mean `classes`?"),
        ({"zzz": 1}, "argument `zzz`. Its arguments: architecture, include_top, wei"),
    ],
)
@pytest.mark.parametrize(
    "build",
    [
        functools.partial(scalenet_tf.create_model, "ScaleNetCifar38"),
        scalenet_tf.ScaleNetCifar38,
        functools.partial(scalenet_tf.ScaleNet, TINY),
    ],
    ids=["create_model", "ScaleNetCifar38", "ScaleNet"],
)
def test_arguments_that_there_are_not_are_answered_by_those_meant(build, kwargs, meant):
    with pytest.raises(TypeError) as refused:
        build(**kwargs)
    assert str(refused.value).startswith(f"ScaleNet has no {meant}")


def test_unknown_model_is_an_error_with_suggestions():
    with pytest.raises(ValueError, match=r"unknown model 'scalenet5O'.*ScaleNet50"):
        scalenet_tf.create_model("scalenet5O")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"classes": 6}, r"`classes` must be what the weights in .* have: 5 classes"),
        ({"classes": 5, "input_shape": (56, 56, 1)}, r"must have 3 channels.*1 chan"),
        ({"classes": 5, "input_shape": (56, 56, 4)}, r"must have 3 channels.*4 chan"),
    ],
)
def test_arguments_that_do_not_fit_the_weights_are_errors(
    tiny, tmp_path, kwargs, message
):
    path = tmp_path / "tiny.weights.h5"
    scalenet_tf.ScaleNet(tiny, classes=5).save_weights(path)
    with pytest.raises(ValueError, match=message):
        scalenet_tf.ScaleNet(tiny, weights=path, **kwargs)


def test_weights_of_another_network_are_an_error(tiny, tmp_path):
    path = tmp_path / "resnet.weights.h5"
    scalenet_tf.ScaleNet(tiny.twin(), classes=5).save_weights(path)
    with pytest.raises(ValueError, match=r"`weights` must be those of tiny, "):
        scalenet_tf.ScaleNet(tiny, classes=5, weights=path)


def test_input_shape_and_input_tensor_must_agree(tiny):
    with pytest.raises(ValueError, match=r"`input_shape` must be that of `input_ten"):
        scalenet_tf.ScaleNet(
            tiny, input_tensor=keras.Input((64, 64, 3)), input_shape=(56, 56, 3)
        )


def test_weights_file_that_is_none_is_an_error(tiny, tmp_path):
    path = tmp_path / "text.weights.h5"
    path.write_text("not HDF5")
    with pytest.raises(ValueError, match="cannot be read as such"):
        scalenet_tf.ScaleNet(tiny, weights=path)


def test_channels_first_is_an_error(tiny, monkeypatch):
    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    with pytest.raises(ValueError, match=r"channels last.*'channels_first'"):
        scalenet_tf.ScaleNet(tiny)
