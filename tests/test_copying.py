"""Layers that Keras has changed since they were built: LoRA, int8, statistics."""

import keras
import numpy as np
import pytest
import reference
from conftest import TINY_CIFAR
from situations import situation

import scalenet_tf
from scalenet_tf import export
from scalenet_tf.layers import ScaleAggregation
from scalenet_tf.preprocessing import EvaluationTransform
from scalenet_tf.weights import pytorch_arrays, pytorch_shapes

AREA = "models that Keras has changed"
TRANSFORM = EvaluationTransform(32, 32, "centered")
NAMES = ["a", "b", "c"]
WRITERS = {
    "SavedModel": (export.save_savedmodel, "model"),
    "TFLite": (export.convert_tflite, "model.tflite"),
    "ONNX": (export.convert_onnx, "model.onnx"),
}


def network(**options):
    """A network with weights as after training."""
    model = scalenet_tf.ScaleNet(TINY_CIFAR, classes=3, **options)
    weights = reference.generated_weights(pytorch_shapes(model))
    scalenet_tf.load_pytorch_weights(model, weights)
    return model


def with_lora(model):
    """The model with LoRA wherever Keras has it, trained."""
    rng = np.random.default_rng(1)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            # A Dense layer of Keras 3.15 forgets its alpha in an .h5 file.
            alpha = 3 if isinstance(layer, keras.layers.Conv2D) else None
            layer.enable_lora(2, lora_alpha=alpha)
            shape = layer.lora_kernel_b.shape
            layer.lora_kernel_b.assign(rng.standard_normal(shape))
    return model


def images():
    return np.random.default_rng(2).uniform(-1, 1, (3, 32, 32, 3)).astype("f4")


def error(left, right):
    return float(np.abs(np.asarray(left) - np.asarray(right)).max())


@pytest.mark.parametrize("fold_first", [False, True])
def test_lora_is_folded_with_the_batch_norms(fold_first):
    plain = network()
    untrained = plain(images())
    model = scalenet_tf.fold_batch_norm(plain) if fold_first else plain
    weights = len(scalenet_tf.fold_batch_norm(plain).weights)
    expected = with_lora(model)(images())
    assert error(expected, untrained) > 0.01
    folded = scalenet_tf.fold_batch_norm(model)
    assert error(folded(images()), expected) < 1e-5
    assert len(folded.weights) == weights
    assert not any("lora" in weight.path for weight in folded.weights)
    assert model.get_layer("stem_conv").lora_enabled


@pytest.mark.runs
@pytest.mark.parametrize(
    ("kind", "options"),
    [("SavedModel", {"fold": False}), *((kind, {}) for kind in WRITERS)],
)
def test_exports_of_a_model_with_lora_are_equal(kind, options, tmp_path):
    write, name = WRITERS[kind]
    model = with_lora(network())
    write(model, tmp_path / name, TRANSFORM, NAMES, **options)
    found = export.open_exported(tmp_path / name).outputs(images(), "probabilities")
    assert error(found, model(images())) < 1e-5


@pytest.mark.parametrize(
    "suffix",
    [
        pytest.param(s, marks=situation(AREA, f"saved as {s}: LoRA, also in SA blocks"))
        for s in (".keras", ".h5")
    ],
)
def test_lora_is_still_there_after_saving_and_loading(suffix, tmp_path, outcome):
    model = with_lora(network())
    path = tmp_path / f"model{suffix}"
    model.save(path)
    loaded = scalenet_tf.load_model(path)
    assert error(loaded(images()), model(images())) < 1e-5
    folded = scalenet_tf.fold_batch_norm(loaded)
    assert error(folded(images()), model(images())) < 1e-5
    names = [weight.path for weight in model.trainable_weights]
    assert [weight.path for weight in loaded.trainable_weights] == names
    block = next(la for la in loaded.layers if isinstance(la, ScaleAggregation))
    assert (block.convs[2].lora_rank, block.convs[2].lora_alpha) == (2, 3)
    copy = keras.models.clone_model(model)
    assert [weight.path for weight in copy.trainable_weights] == names
    outcome("equal answers; LoRA goes on, and its kernels stay frozen")


def test_lora_of_a_block_names_its_sublayers():
    with pytest.raises(ValueError, match="`lora` must name sublayers") as refused:
        ScaleAggregation([2, 2], scales=[1, 2], lora={"scale3_conv": (2, 2)})
    assert "Received: ['scale3_conv']." in str(refused.value)


@pytest.mark.runs
@situation(AREA, "export: int8 by Keras' quantize")
def test_a_quantised_model_is_exported_as_it_is_or_refused(tmp_path, outcome):
    model = network()
    before = model(images())
    model.get_layer("logits").quantize("int8")
    expected = model(images())
    assert error(expected, before) > 1e-5
    assert error(scalenet_tf.fold_batch_norm(model)(images()), expected) < 1e-5
    came = {}
    for kind, (write, name) in WRITERS.items():
        path = tmp_path / name
        if kind == "SavedModel":
            write(model, path, TRANSFORM, NAMES)
            found = export.open_exported(path).outputs(images(), "probabilities")
            assert error(found, expected) < 1e-5
            came[kind] = "equal"
        else:
            with pytest.raises(export.ExportError, match="its layer 'logits' is, by"):
                write(model, path, TRANSFORM, NAMES)
            came[kind] = "refused, naming the layer"
    outcome("; ".join(f"{kind}: {what}" for kind, what in came.items()))


def test_lora_on_a_quantised_layer_is_kept_in_both_parts():
    model = network()
    top = model.get_layer("logits")
    top.quantize("int8")
    top.enable_lora(2)
    top.lora_kernel_b.assign(np.ones((2, 3)))
    folded = scalenet_tf.fold_batch_norm(model)
    assert error(folded(images()), model(images())) < 1e-5


def test_an_adapted_normalization_is_copied_with_what_it_has_seen():
    inputs = keras.Input((32, 32, 3))
    normalization = keras.layers.Normalization()
    normalization.adapt(255 * np.abs(images()))
    model = network(input_tensor=normalization(inputs))
    folded = scalenet_tf.fold_batch_norm(model)
    pixels = 255 * np.abs(images())
    assert error(folded(pixels), model(pixels)) < 1e-5


@pytest.mark.parametrize("change", ["enable_lora", "quantize"])
def test_pytorch_weights_are_loaded_before_keras_changes_a_layer(change):
    model = network()
    arrays = pytorch_arrays(model)
    if change == "enable_lora":
        block = next(la for la in model.layers if isinstance(la, ScaleAggregation))
        block.convs[2].enable_lora(2)
        named = "layer1.0.conv2.1.weight"
    else:
        model.get_layer("logits").quantize("int8")
        named = "fc.weight"
    before = model.get_weights()
    with pytest.raises(ValueError, match="neither LoRA nor quantised") as refused:
        scalenet_tf.load_pytorch_weights(model, {k: 2 * v for k, v in arrays.items()})
    assert f"by its place for tensor {named!r}" in str(refused.value)
    for left, right in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(left, right)


def test_pytorch_arrays_have_lora_in_the_kernels():
    model = with_lora(network())
    plain = scalenet_tf.ScaleNet(TINY_CIFAR, classes=3)
    scalenet_tf.load_pytorch_weights(plain, pytorch_arrays(model))
    assert error(plain(images()), model(images())) < 1e-5
