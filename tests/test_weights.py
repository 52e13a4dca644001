import keras
import numpy as np
import pytest
import reference

import scalenet_tf
from scalenet_tf.weights import pytorch_shapes


@pytest.fixture(scope="module")
def scalenet50_weights():
    return reference.generated_weights(reference.scalenet50_shapes())


@pytest.mark.parametrize(
    "shape",
    [
        (224, 224, 3),
        (256, 256, 3),
        pytest.param((None, None, 3), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_scalenet50_equals_the_authors_code(scalenet50_weights, shape):
    model = scalenet_tf.ScaleNet50(input_shape=shape, classifier_activation=None)
    scalenet_tf.load_pytorch_weights(model, scalenet50_weights)
    probes = keras.Model(
        model.inputs, {"logits": model.output, **scalenet_tf.feature_pyramid(model)}
    )
    expected = np.load(reference.DATA / "scalenet50.npz")
    for size in [224, 256] if shape[0] is None else [shape[0]]:
        x = np.random.default_rng(size).standard_normal((2, 3, size, size))
        out = probes.predict(x.astype("f4").transpose(0, 2, 3, 1), verbose=0)
        actual = {f"logits_{size}": out["logits"]}
        for stage in range(1, 5):
            features = out[f"P{stage + 1}"]
            corner = features[:, :6, :6, :8].transpose(0, 3, 1, 2)
            actual[f"stage{stage}_mean_{size}"] = features.mean((1, 2))
            actual[f"stage{stage}_corner_{size}"] = corner
        for key, value in actual.items():
            error = np.abs(value - expected[key]).max()
            assert error < 1e-5 * np.abs(expected[key]).max(), key


def test_names_and_shapes_are_those_of_the_authors_checkpoint():
    model = scalenet_tf.ScaleNet50(input_shape=(32, 32, 3))
    assert pytorch_shapes(model) == reference.scalenet50_shapes()


@pytest.fixture
def tiny_model(tiny):
    return scalenet_tf.ScaleNet(tiny, classes=5)


@pytest.fixture
def tiny_weights(tiny_model):
    return reference.generated_weights(pytorch_shapes(tiny_model))


def test_pth_safetensors_and_mapping_give_the_same(
    tiny, tiny_model, tiny_weights, tmp_path
):
    import safetensors.numpy
    import torch

    tensors = {name: torch.from_numpy(value) for name, value in tiny_weights.items()}
    tensors["bn1.num_batches_tracked"] = torch.tensor(3)
    parallel = {f"module.{name}": value for name, value in tensors.items()}
    torch.save(tensors, tmp_path / "plain.pth")
    torch.save({"epoch": 3, "state_dict": parallel}, tmp_path / "wrapped.pth")
    safetensors.numpy.save_file(tiny_weights, tmp_path / "tiny.safetensors")
    scalenet_tf.load_pytorch_weights(tiny_model, tiny_weights)
    for name in ("plain.pth", "wrapped.pth", "tiny.safetensors"):
        other = scalenet_tf.ScaleNet(tiny, classes=5)
        scalenet_tf.load_pytorch_weights(other, tmp_path / name)
        for weight, expected in zip(other.weights, tiny_model.weights, strict=True):
            np.testing.assert_array_equal(weight, expected)


def test_classifier_tensors_are_passed_over_without_top(tiny, tiny_weights):
    body = scalenet_tf.ScaleNet(tiny, include_top=False)
    scalenet_tf.load_pytorch_weights(body, tiny_weights)
    kernel = body.get_layer("stem_conv").kernel.numpy()
    expected = tiny_weights["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel, expected)


def drop(weights):
    del weights["layer1.0.conv2.1.weight"], weights["layer2.0.bn3.bias"]


def add(weights):
    weights["layer9.0.conv1.weight"] = np.zeros(3)


def reshape(weights):
    weights["fc.weight"] = weights["fc.weight"].T


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, r"'layer1\.0\.conv2\.1\.weight' \(shape \(2, 4, 3, 3\)\) is missing"),
        (add, r"'layer9\.0\.conv1\.weight' of `source` is unexpected"),
        (
            reshape,
            r"'fc\.weight' of `source` must have shape \(5, 32\).*shape \(32, 5\)",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named_and_nothing_is_loaded(
    tiny_model, tiny_weights, change, message
):
    before = tiny_model.get_weights()
    change(tiny_weights)
    with pytest.raises(ValueError, match=message):
        scalenet_tf.load_pytorch_weights(tiny_model, tiny_weights)
    for weight, expected in zip(tiny_model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("none.pth", None, FileNotFoundError, "no checkpoint file"),
        ("text.pth", b"text", ValueError, "not a PyTorch checkpoint"),
        ("text.safetensors", b"text", ValueError, "not a safetensors file"),
        ("weights.h5", b"text", ValueError, r"must be a \.pth, .* or \.safetensors"),
    ],
)
def test_files_that_cannot_be_read_are_errors(
    tiny_model, tmp_path, name, content, error, message
):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        scalenet_tf.load_pytorch_weights(tiny_model, tmp_path / name)


def test_pickled_code_is_not_run(tiny_model, tmp_path):
    import pickle

    marker = tmp_path / "ran"

    class Harmful:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    (tmp_path / "harmful.pth").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(ValueError, match="not a PyTorch checkpoint"):
        scalenet_tf.load_pytorch_weights(tiny_model, tmp_path / "harmful.pth")
    assert not marker.exists()


def test_model_of_another_kind_is_an_error():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="d")])
    with pytest.raises(ValueError, match="`model` must be a network of this package"):
        scalenet_tf.load_pytorch_weights(model, {"d.weight": np.zeros((2, 4))})
