"""What cannot be exported is refused, with the argument, before anything is written."""

import keras
import numpy as np
import pytest
from conftest import TINY_CIFAR
from situations import situation

import scalenet_tf
from scalenet_tf import export
from scalenet_tf.preprocessing import EvaluationTransform

AREA = "models that Keras has changed"
NAMES = list("abcde")
TRANSFORM = EvaluationTransform(32, 32, "cifar10")
WRITERS = {
    "model": export.save_savedmodel,
    "model.tflite": export.convert_tflite,
    "model.onnx": export.convert_onnx,
    "openvino": export.convert_openvino,
}


@pytest.fixture(scope="module")
def network():
    return scalenet_tf.ScaleNet(TINY_CIFAR, classes=5, input_shape=(32, 32, 3))


def dense(network, **options):
    return keras.layers.Dense(5, **options)(network.get_layer("avg_pool").output)


def with_head(network, activation):
    return keras.Model(
        network.input, dense(network, name="logits", activation=activation)
    )


def with_outputs(network, *kinds):
    outputs = {
        "features": lambda: network.get_layer("avg_pool").output,
        "scores": lambda: network.output,
        "attributes": lambda: dense(network, activation="sigmoid"),
        "mean": lambda: keras.layers.Average()([network.output, dense(network)]),
    }
    return keras.Model(network.input, [outputs[kind]() for kind in kinds])


def with_features(network, size):
    x = keras.layers.Dense(size)(network.get_layer("logits").output)
    return keras.Model(network.input, x)


REFUSED = {
    "a head with softmax": (
        lambda network: with_head(network, "softmax"),
        "the layer 'logits' of `model` must have no activation: logits go through a "
        "layer of their own, such as keras.layers.Softmax\\(\\). Received: 'softmax'",
    ),
    "a head with sigmoid": (
        lambda network: with_head(network, "sigmoid"),
        "no activation: .* Received: 'sigmoid'.",
    ),
    "features beside the scores": (
        lambda network: with_outputs(network, "features", "scores"),
        r"`model` must have one output, \(None, 5\), which is its logits or made of "
        "them alone. Received: 2 outputs",
    ),
    "another head beside the scores": (
        lambda network: with_outputs(network, "attributes", "scores"),
        "one output, .* Received: 2 outputs",
    ),
    "scores that another head takes part in": (
        lambda network: with_outputs(network, "mean"),
        "one output, .* Received: an output that needs more than the logits",
    ),
    "a dense layer after the logits": (
        lambda network: with_features(network, 7),
        r"one output, .* Received: an output of shape \(None, 7\)",
    ),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=situation(AREA, f"export: {name}")) for name in REFUSED],
)
def test_models_whose_probabilities_would_be_others(name, network, tmp_path, outcome):
    make, message = REFUSED[name]
    model = make(network)
    for file, write in WRITERS.items():
        with pytest.raises(export.ExportError, match=message):
            write(model, tmp_path / file, TRANSFORM, NAMES)
    assert not [*tmp_path.iterdir()]
    outcome("refused, naming the output that is wanted")


@pytest.mark.parametrize(
    ("transform", "names", "message"),
    [
        (TRANSFORM, range(5), "`class_names` must be a list of names. Received: 0."),
        (TRANSFORM, ["a", "b", b"c", "d", "e"], "list of names. Received: b'c'."),
        (EvaluationTransform(32, 5000, "cifar10"), NAMES, "'resize'.*4096.*: 5000."),
    ],
)
@pytest.mark.parametrize("writer", [*WRITERS])
def test_what_could_not_be_opened_again(
    writer, transform, names, message, network, tmp_path
):
    path = tmp_path / writer
    with pytest.raises(export.ExportError, match=message):
        WRITERS[writer](network, path, transform, names)
    assert not [*tmp_path.iterdir()]


def test_an_onnx_file_needs_its_suffix(network, tmp_path):
    with pytest.raises(
        export.ExportError, match=r"must end with '\.onnx'. Received: '/"
    ):
        export.convert_onnx(network, tmp_path / "model", TRANSFORM, NAMES)
    assert not [*tmp_path.iterdir()]


def normalizing():
    return keras.Sequential([keras.layers.Rescaling(1 / 127.5, offset=-1)], name="mine")


def turning():
    return keras.Sequential(
        [keras.layers.RandomFlip(), keras.layers.RandomRotation(0.1)]
    )


@pytest.mark.parametrize(
    ("front", "name"),
    [
        (normalizing(), "rescaling"),
        (lambda images: images / 255.0, "true_divide"),
        (lambda images: scalenet_tf.preprocess_input(images, "cifar10"), "subtract"),
    ],
)
def test_networks_that_normalise_by_whatever_means(front, name, tmp_path):
    inputs = keras.Input((32, 32, 3))
    model = scalenet_tf.ScaleNet(TINY_CIFAR, classes=5, input_tensor=front(inputs))
    with pytest.raises(export.ExportError, match=r"must be 'none' .* layer") as e:
        export.save_savedmodel(model, tmp_path / "model", TRANSFORM, NAMES)
    assert name in str(e.value)
    assert not [*tmp_path.iterdir()]


@pytest.mark.runs
@pytest.mark.parametrize(
    "front",
    [turning(), keras.layers.Resizing(32, 32), keras.layers.Conv2D(3, 1)],
    ids=["random turns", "a resizing", "a trained convolution"],
)
def test_other_layers_in_front_are_part_of_the_network(front, tmp_path):
    inputs = keras.Input((32, 32, 3))
    model = scalenet_tf.ScaleNet(TINY_CIFAR, classes=5, input_tensor=front(inputs))
    export.save_savedmodel(model, tmp_path / "model", TRANSFORM, NAMES)
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("f4")
    found = export.open_exported(tmp_path / "model").outputs(images, "probabilities")
    np.testing.assert_allclose(found, model(images, training=False), atol=1e-5)


@pytest.mark.runs
def test_layers_that_another_model_called_first_are_exported(network, tmp_path):
    same = keras.models.clone_model(
        network,
        input_tensors=keras.Input((32, 32, 3)),
        clone_function=lambda layer: layer,
    )
    path = tmp_path / "model"
    export.save_savedmodel(same, path, TRANSFORM, NAMES)
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("f4")
    found = export.open_exported(path).outputs(images, "probabilities")
    np.testing.assert_allclose(found, network(images, training=False), atol=1e-5)
    export.save_savedmodel(same, tmp_path / "plain", TRANSFORM, NAMES, fold=False)
