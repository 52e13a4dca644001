"""Backbone, image converter and tasks of KerasHub; skipped where it is missing."""

import json
import pathlib
import re

import keras
import numpy as np
import pytest
from conftest import TINY
from processes import ROOT

import scalenet_tf

keras_hub = pytest.importorskip("keras_hub", reason="needs keras-hub")

from scalenet_tf import kerashub  # noqa: E402  it needs keras-hub

pytestmark = pytest.mark.slow

SIDE = 64
GUIDE = pathlib.Path(ROOT, "docs/kerashub.md").read_text(encoding="utf-8")


def pictures(count, side=SIDE):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, side, side, 3)).astype(np.uint8)


def backbone(**options):
    keras.utils.set_random_seed(1)
    return kerashub.ScaleNetBackbone(TINY, **options)


def equal(one, other):
    """Bit for bit, in the same order."""
    for left, right in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(left.numpy(), right.numpy(), err_msg=left.path)


def test_a_backbone_is_the_network_without_its_top(tmp_path):
    network = scalenet_tf.ScaleNet(TINY, classes=3)
    network.save(tmp_path / "network.keras")
    body = scalenet_tf.ScaleNet(
        TINY, include_top=False, weights=tmp_path / "network.keras"
    )
    hub = backbone(weights=tmp_path / "network.keras")
    equal(hub, body)
    x = scalenet_tf.preprocess_input(pictures(2))
    np.testing.assert_array_equal(hub(x), body(x))
    maps = keras.Model(hub.input, hub.pyramid_outputs)(x)
    expected = keras.Model(body.input, scalenet_tf.feature_pyramid(body))(x)
    assert [*maps] == ["P2", "P3", "P4", "P5"]
    for level, wanted in expected.items():
        np.testing.assert_array_equal(maps[level], wanted)


@pytest.mark.parametrize("name", ["ScaleNetCifar38", "resnetcifar38"])
def test_a_backbone_by_name_with_the_weights_that_come_with_the_package(name):
    hub = kerashub.ScaleNetBackbone(name, weights="cifar10")
    equal(hub, scalenet_tf.create_model(name, include_top=False, weights="cifar10"))
    assert [*hub.pyramid_outputs] == ["P0", "P1", "P2"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"input_shape": (64, 64, 3)}, TypeError, "Did you mean `image_shape`?"),
        ({"pooling": "avg"}, TypeError, "has no argument `pooling`"),
        ({"image_shape": (8, 8, 3)}, ValueError, "`image_shape` must be .* least 29"),
        ({"image_shape": (64, 64)}, ValueError, "`image_shape` must be"),
        ({"image_shape": None}, ValueError, "Received: image_shape=None"),
        ({"image_shape": (64, 64, None)}, ValueError, "`image_shape` must be"),
    ],
)
def test_other_arguments_of_a_backbone_are_refused(options, error, message):
    with pytest.raises(error, match=message.replace("?", r"\?")):
        backbone(**options)


def test_a_policy_may_be_a_configuration():
    policy = keras.dtype_policies.serialize(keras.DTypePolicy("bfloat16"))
    assert backbone(dtype=policy).get_layer("stem_conv").dtype == "bfloat16"


def test_an_unknown_architecture_is_refused():
    with pytest.raises(ValueError, match=r"unknown model 'ScaleNet51'\. Did you mean"):
        kerashub.ScaleNetBackbone("ScaleNet51")


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_backbone_has_its_policy_and_leaves_that_of_keras(dtype, tmp_path):
    hub = backbone(dtype=dtype)
    assert keras.config.dtype_policy().name == "float32"
    assert {layer.dtype_policy.name for layer in hub.layers[1:]} == {dtype}
    hub.save(tmp_path / "hub.keras")
    loaded = keras.saving.load_model(tmp_path / "hub.keras")
    assert {layer.dtype_policy.name for layer in loaded.layers[1:]} == {dtype}


@pytest.mark.parametrize("shape", [(None, None, 3), (SIDE, SIDE, 3)])
def test_a_preset_gives_the_same_backbone(shape, tmp_path):
    hub = backbone(image_shape=shape, name="mine", trainable=False)
    hub.save_to_preset(str(tmp_path / "preset"))
    config = json.loads((tmp_path / "preset" / "config.json").read_text())
    assert config["registered_name"] == "scalenet_tf>ScaleNetBackbone"
    loaded = keras_hub.models.Backbone.from_preset(str(tmp_path / "preset"))
    assert type(loaded) is kerashub.ScaleNetBackbone
    assert (loaded.name, loaded.trainable) == ("mine", False)
    assert loaded.architecture == TINY
    assert loaded.input_shape == (None, *shape)
    equal(loaded, hub)


@pytest.mark.parametrize("statistics", ["imagenet", "cifar10", "centered"])
def test_the_converter_normalises_as_preprocess_input(statistics, tmp_path):
    converter = kerashub.ScaleNetImageConverter(statistics=statistics)
    expected = scalenet_tf.preprocess_input(pictures(2), statistics)
    np.testing.assert_allclose(converter(pictures(2)), expected, rtol=0, atol=1e-6)
    again = kerashub.ScaleNetImageConverter.from_config(converter.get_config())
    np.testing.assert_array_equal(again(pictures(2)), converter(pictures(2)))


# Of whole numbers Keras' resizing gives whole numbers.
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("uint8", 0.5)])
def test_the_converter_resizes_as_evaluation_does(dtype, bound):
    converter = kerashub.ScaleNetImageConverter((SIDE, SIDE), statistics="none")
    transform = scalenet_tf.preprocessing.EvaluationTransform(SIDE, SIDE, "none")
    x = pictures(2, 150).astype(dtype)
    bound += 1e-3  # pixels are up to 255
    np.testing.assert_allclose(converter(x), transform(x), rtol=0, atol=bound)


def test_a_picture_that_is_no_square_is_cut_as_in_evaluation():
    converter = kerashub.ScaleNetImageConverter((SIDE, SIDE), statistics="none")
    transform = scalenet_tf.preprocessing.EvaluationTransform(SIDE, SIDE, "none")
    x = pictures(2, 192)[:, :, :96].astype("float32")
    # Evaluation cuts after resizing, so that what was beyond the cut is in its edge.
    found, expected = (part[:, 2:-2] for part in (converter(x), transform(x)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"scale": 1.0}, TypeError, "follow from `statistics`. Received: scale"),
        ({"image_size": 32}, ValueError, "Received: image_size=32"),
    ],
)
def test_other_arguments_of_the_converter_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        kerashub.ScaleNetImageConverter(**options)


def test_grey_pictures_are_refused():
    with pytest.raises(ValueError, match=r"RGB .* shape \(2, 64, 64, 1\)"):
        kerashub.ScaleNetImageConverter()(pictures(2)[..., :1])


def test_unknown_statistics_are_refused():
    with pytest.raises(ValueError, match="`statistics` must be one of imagenet, "):
        kerashub.ScaleNetImageConverter(statistics="imagnet")


def learns(task, x, y, part):
    """One step of `fit`, which moves the backbone's weights and gives a finite loss."""
    before = part.get_layer("stem_conv").kernel.numpy()
    losses = task.fit(x, y, batch_size=2, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert np.abs(part.get_layer("stem_conv").kernel.numpy() - before).max() > 0


def loads_equal(task, load, x):
    """What is predicted by a task that was saved and loaded again."""
    found = keras.tree.flatten(load(task).predict(x, verbose=0))
    expected = keras.tree.flatten(task.predict(x, verbose=0))
    for one, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, wanted, rtol=1e-5, atol=1e-5)


@pytest.fixture
def by_file(tmp_path):
    def load(task):
        task.save(tmp_path / "task.keras")
        return keras.saving.load_model(tmp_path / "task.keras")

    return load


@pytest.fixture
def by_preset(tmp_path):
    def load(task):
        task.save_to_preset(str(tmp_path / "task"))
        return type(task).from_preset(str(tmp_path / "task"))

    return load


@pytest.mark.parametrize("way", ["by_file", "by_preset"])
def test_a_classifier(way, request):
    converter = kerashub.ScaleNetImageConverter(image_size=(SIDE, SIDE))
    preprocessor = kerashub.ScaleNetImageClassifierPreprocessor(converter)
    hub = backbone(image_shape=(SIDE, SIDE, 3))
    task = kerashub.ScaleNetImageClassifier(
        hub, num_classes=3, preprocessor=preprocessor
    )
    learns(task, pictures(4, 80), np.array([0, 1, 2, 0]), hub)
    loads_equal(task, request.getfixturevalue(way), pictures(2, 80))


def test_the_classifier_of_a_backbone_s_preset(tmp_path):
    """As the presets of KerasHub: its class is found, its head is new."""
    hub = backbone()
    hub.save_to_preset(str(tmp_path))
    converter = kerashub.ScaleNetImageConverter((SIDE, SIDE), statistics="cifar10")
    converter.save_to_preset(str(tmp_path))
    task = keras_hub.models.ImageClassifier.from_preset(str(tmp_path), num_classes=4)
    assert type(task) is kerashub.ScaleNetImageClassifier
    assert task.output_shape == (None, 4)
    equal(task.backbone, hub)
    found = task.preprocessor.image_converter
    assert type(found) is kerashub.ScaleNetImageConverter
    np.testing.assert_array_equal(found(pictures(1, 80)), converter(pictures(1, 80)))


@pytest.mark.parametrize("way", ["by_file", "by_preset"])
def test_a_detector(way, request):
    side = 128
    hub = backbone()
    body = keras_hub.models.RetinaNetBackbone(
        hub, min_level=3, max_level=5, use_p5=False, image_shape=(side, side, 3)
    )
    converter = kerashub.ScaleNetImageConverter(image_size=(side, side))
    task = keras_hub.models.RetinaNetObjectDetector(
        body,
        num_classes=3,
        preprocessor=keras_hub.models.RetinaNetObjectDetectorPreprocessor(converter),
    )
    boxes = {
        "boxes": np.array([[[10.0, 20, 90, 100]]] * 2, np.float32),
        "labels": np.array([[1]] * 2),
    }
    task.compile("sgd", run_eagerly=True)
    learns(task, pictures(2, side), boxes, hub)
    loads_equal(task, request.getfixturevalue(way), pictures(2, side))


@pytest.mark.parametrize("way", ["by_file", "by_preset"])
def test_deep_lab_v3_plus(way, request):
    hub = backbone()
    body = keras_hub.models.DeepLabV3Backbone(
        hub,
        projection_filters=8,
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P5",
        upsampling_size=8,
        dilation_rates=[1, 2, 3],
        image_shape=(SIDE, SIDE, 3),
    )
    task = keras_hub.models.DeepLabV3ImageSegmenter(body, num_classes=3)
    task.compile("sgd")
    masks = np.eye(3)[np.random.default_rng(0).integers(0, 3, (2, SIDE, SIDE))]
    x = scalenet_tf.preprocess_input(pictures(2))
    learns(task, x, masks, hub)
    loads_equal(task, request.getfixturevalue(way), x)


def test_a_network_of_the_package_is_taken_as_it_is(tmp_path):
    """Without the backbone's class, by its `pyramid_outputs`."""
    body = keras_hub.models.RetinaNetBackbone(
        scalenet_tf.ScaleNet(TINY, include_top=False),
        min_level=3,
        max_level=7,
        use_p5=False,
        image_shape=(128, 128, 3),
    )
    levels = {level: 128 // p.shape[1] for level, p in body.pyramid_outputs.items()}
    assert levels == {"P3": 8, "P4": 16, "P5": 32, "P6": 64, "P7": 128}
    body.save(tmp_path / "body.keras")
    loaded = keras.saving.load_model(tmp_path / "body.keras")
    assert [*loaded.image_encoder.pyramid_outputs] == ["P2", "P3", "P4", "P5"]
    x = scalenet_tf.preprocess_input(pictures(1, 128))
    for level, expected in body(x).items():
        np.testing.assert_allclose(loaded(x)[level], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("number", [0, 1])
def test_the_code_of_the_guide_runs(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)[number]
    exec(compile(code, f"docs/kerashub.md, block {number}", "exec"), {})
