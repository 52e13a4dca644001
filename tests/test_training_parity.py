"""Training equals the second writing's in PyTorch: losses, weights, statistics."""

import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from conftest import TINY, TINY_CIFAR

import scalenet_tf
from scalenet_tf.weights import pytorch_arrays, pytorch_shapes

SCRIPT = pathlib.Path(__file__).parent / "torch_training.py"
STEPS, BATCH, CLASSES, MOMENTUM = 20, 16, 5, 0.9


def train(model, images, labels, rate):
    """SGD with momentum, in float64 throughout; Keras rounds momentum to float32."""
    weights = [variable.value for variable in model.trainable_variables]
    velocities = [tf.Variable(tf.zeros_like(weight)) for weight in weights]

    @tf.function
    def step(images, labels):
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            )
        for weight, velocity, gradient in zip(
            weights, velocities, tape.gradient(loss, weights), strict=True
        ):
            velocity.assign(MOMENTUM * velocity + gradient)
            weight.assign_sub(rate * velocity)
        return loss

    return [float(step(x, y)) for x, y in zip(images, labels, strict=True)]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        pytest.param(TINY_CIFAR, 32, id="tiny-cifar", marks=pytest.mark.slow),
        pytest.param(TINY, 56, id="tiny"),  # maps of 14, 7, 3 and 1 pixels
        pytest.param(
            scalenet_tf.get_architecture("ScaleNetCifar38"),
            32,
            id="ScaleNetCifar38",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_twenty_steps_of_sgd_equal_pytorch(architecture, size, tmp_path):
    rate = 0.002
    rng = np.random.default_rng(0)
    images = rng.standard_normal((STEPS, BATCH, size, size, 3))
    labels = rng.integers(0, CLASSES, (STEPS, BATCH))
    model = scalenet_tf.ScaleNet(
        architecture,
        input_shape=(size, size, 3),
        classes=CLASSES,
        classifier_activation=None,
    )
    start = reference.generated_weights(pytorch_shapes(model))
    scalenet_tf.load_pytorch_weights(model, start)

    record, given, result = (tmp_path / n for n in ("a.json", "in.npz", "out.npz"))
    record.write_text(json.dumps(architecture.to_record()))
    np.savez(
        given,
        images=images,
        labels=labels,
        rate=rate,
        momentum=MOMENTUM,
        **{f"weight/{name}": value for name, value in start.items()},
    )
    subprocess.run([sys.executable, SCRIPT, record, given, result], check=True)
    expected = np.load(result)

    losses = train(model, images, labels, rate)
    np.testing.assert_allclose(losses, expected["losses"], rtol=1e-9)
    for name, value in pytorch_arrays(model).items():
        wanted = expected[f"weight/{name}"]
        error = np.abs(value - wanted).max() / np.abs(wanted).max()
        assert error < 1e-9, (name, error)


def test_the_moving_variance_is_that_of_the_map_after_upsampling(tiny):
    keras.utils.set_random_seed(0)
    model = scalenet_tf.ScaleNet(tiny, classes=CLASSES, input_shape=(56, 56, 3))
    block = model.get_layer("stage1_block1_sa")
    x = np.random.default_rng(0).standard_normal((2, 14, 14, 4)).astype("float32")
    block(x, training=True)
    small = block.convs[2](tf.nn.max_pool2d(x, 2, 2, "VALID")).numpy()
    count = 2 * 14 * 14
    expected = 0.9 + 0.1 * small.var((0, 1, 2)) * count / (count - 1)
    np.testing.assert_allclose(block.norms[2].moving_variance, expected, rtol=1e-6)
