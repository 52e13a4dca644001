"""What tests do on every backend of Keras, to compare the arrays that come out.

    KERAS_BACKEND=jax python on_backend.py WORK FOLDER [NAME...]

does it on another backend than that of the tests, as where TensorFlow is not installed,
and leaves the arrays in the folder.
"""

import pathlib
import sys

if __name__ == "__main__":
    sys.modules["tensorflow"] = None  # an import of it is an ImportError

import keras
import numpy as np

import scalenet_tf
from scalenet_tf.weights import pytorch_arrays

ANY_SIZE = (None, None, 3)
MACS = 7.73e6  # which the tiny architecture can spend


def images(count, side, seed=0):
    return np.random.default_rng(seed).standard_normal((count, side, side, 3))


def network(name, weights=None, input_shape=(32, 32, 3)):
    return scalenet_tf.create_model(
        name, weights=weights, input_shape=input_shape, classifier_activation=None
    )


def networks(folder, *names):
    """Logits of networks, and the loss of a step of `fit`, which moves all weights.

    The weights are in files of their names, and afterwards in others.
    """
    results = {}
    for name in names:
        side = 32 if "cifar" in name.lower() else 64
        model = network(name, folder / f"{name}.weights.h5", (side, side, 3))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.125), loss)
        x, start = images(4, side), by_path(model)
        results[f"{name} logits"] = model.predict(x[:2], verbose=0)
        history = model.fit(x, np.arange(4), batch_size=4, shuffle=False, verbose=0)
        results[f"{name} loss"] = np.array(history.history["loss"])
        moved = [(array != start[path]).any() for path, array in by_path(model).items()]
        results[f"{name} moved"] = np.array([all(moved)])
        model.save_weights(folder / f"{name}-{keras.config.backend()}.weights.h5")
    return results


def parts(folder):
    """What the library does with a model that was saved."""
    model = scalenet_tf.load_model(folder / "model.keras")
    x = images(2, model.input_shape[1])
    pyramid = keras.Model(model.input, scalenet_tf.feature_pyramid(model))
    folded = scalenet_tf.fold_batch_norm(model)
    assert len(folded.weights) < len(model.weights)
    architecture = scalenet_tf.load_architecture(folder / "architecture.json")
    importance = scalenet_tf.allocation.neuron_importance(model)
    allocated = scalenet_tf.allocation.allocate_for_macs(architecture, importance, MACS)
    any_size = scalenet_tf.ScaleNet(architecture, input_shape=ANY_SIZE, classes=3)
    other = scalenet_tf.ScaleNet(architecture, classes=3, classifier_activation=None)
    report = scalenet_tf.load_pytorch_weights(other, pytorch_arrays(model))
    assert report.loaded == len(model.weights)
    any_size.set_weights(model.get_weights())
    pixels = np.random.default_rng(1).integers(0, 256, (1, 2, 2, 3), "uint8")
    tensor = scalenet_tf.preprocess_input(keras.ops.convert_to_tensor(pixels))
    named = scalenet_tf.decode_predictions(model.predict(x, verbose=0), 2, "abc")
    return {
        "logits": model.predict(x, verbose=0),
        "called": keras.ops.convert_to_numpy(model(x, training=False)),
        "folded": folded.predict(x, verbose=0),
        "any size": any_size.predict(images(1, 41), verbose=0),
        "PyTorch weights": other.predict(x, verbose=0),
        "MACs": scalenet_tf.count_macs(model),
        "allocation": np.array(allocated.architecture.allocation),
        "pixels": keras.ops.convert_to_numpy(tensor),
        "best": np.array([int(best[0][0]) for best in named]),
        **pyramid.predict(x, verbose=0),
        **{
            f"importance {i} {s}": a
            for i, b in enumerate(importance)
            for s, a in b.items()
        },
    }


def trained(folder, dtype):
    """The weights after a step of `fit`, which are in files then, too."""
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    model = scalenet_tf.load_model(folder / "start.keras")
    x, y = images(12, model.input_shape[1]), np.arange(12) % 3
    model.fit(x, y, batch_size=12, epochs=1, shuffle=False, verbose=0)
    name = f"{keras.config.backend()}-{dtype}"
    model.save(folder / f"{name}.keras")
    model.save_weights(folder / f"{name}.weights.h5")
    return by_path(model)


def by_path(model):
    return {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}


def stored(folder):
    """Weights as they are read from the files of another backend."""
    model = scalenet_tf.load_model(folder / "model.keras")
    architecture = scalenet_tf.load_architecture(folder / "architecture.json")
    weights = folder / "model.weights.h5"
    others = {
        "h5": scalenet_tf.load_model(folder / "model.h5"),
        "weights": scalenet_tf.ScaleNet(architecture, classes=3, weights=weights),
    }
    return by_path(model) | {
        f"{kind} {path}": array
        for kind, other in others.items()
        for path, array in by_path(other).items()
    }


def narrow(folder):
    """Logits in bfloat16 where a layer may, as float32."""
    del folder
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = network("ScaleNetCifar38")
    outputs = [layer.output.dtype for layer in model.layers]
    assert outputs.count("bfloat16") > 100
    rng = np.random.default_rng(3)
    for weight in model.weights:
        scale = np.sqrt(2 / max(np.prod(weight.shape[:-1]), 1))
        if weight.path.endswith("kernel"):
            weight.assign(rng.normal(0, scale, weight.shape))
    return {"logits": model.predict(images(2, 32), verbose=0)}


def refusals(folder):
    """The messages of what TensorFlow's backend alone can do."""
    from scalenet_tf import decoding, export, preprocessing

    model = scalenet_tf.load_model(folder / "model.keras")
    transform = preprocessing.EvaluationTransform(56, 64)
    content = export.Exportable(model, transform, list("abc"))
    network = scalenet_tf.ScaleNetCifar38(classes=3)
    synchronized = scalenet_tf.ScaleNet("ScaleNetCifar38", synchronized=True)
    synchronized.compile(loss="sparse_categorical_crossentropy")
    synchronized.predict(images(1, 32), verbose=0)  # which needs no other replica
    tasks = {
        "decode": lambda: decoding.decode_image,
        "decode, too": lambda: preprocessing.decode_image,
        "save": lambda: export.save_savedmodel(network, folder / "s", transform, []),
        "convert": lambda: export.convert_onnx,
        "verify": lambda: export.verify,
        "write": lambda: export.FORMATS[1].write(content, str(folder), "a", None),
        "fit": lambda: synchronized.fit(images(2, 32), np.zeros(2), verbose=0),
    }
    said = {}
    for name, task in tasks.items():
        try:
            task()
        except scalenet_tf.backends.BackendError as error:
            said[name] = np.array(str(error))
    return said


def main():
    work, folder, *names = sys.argv[1:]
    folder = pathlib.Path(folder)
    results = globals()[work](folder, *names)
    np.savez(folder / f"{work}-{keras.config.backend()}.npz", **results)
    assert sys.modules["tensorflow"] is None


if __name__ == "__main__":
    main()
