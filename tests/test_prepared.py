"""Datasets of TensorFlow Datasets: what training sees of them, what is refused."""

import glob
import os
import socket

import numpy as np
import pytest
import tensorflow as tf
from scalenet_training.data.errors import checked_label, data_errors
from scalenet_training.data.kinds import prepared_splits
from scalenet_training.data.source import open_split
from scalenet_training.data.sources import open_source
from scalenet_training.errors import RunError
from situations import situation

from scalenet_tf.preprocessing import decode_image

tfds = pytest.importorskip("tensorflow_datasets")
F = tfds.features
AREA = "TFDS features"
TWO = F.ClassLabel(num_classes=2)
FLOATS = np.random.default_rng(0).random((4, 8, 8, 1), dtype=np.float32)


def pixels(channels, dtype=np.uint8, sides=(8, 8)):
    highest = min(np.iinfo(dtype).max, 65535)
    rng = np.random.default_rng(0)
    return rng.integers(0, highest + 1, (4, *sides, channels)).astype(dtype)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tfds"))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*arguments, **options):
        pytest.fail(f"asked the network: {arguments}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def prepare(folder, name, image, images, label=TWO, labels=(0, 1, 0, 1), **options):
    """A dataset of four examples, on disk."""
    features = {"image": image, "label": label, **options.pop("features", {})}
    more = options.pop("more", {})
    examples = [
        (number, {"image": images[number], "label": labels[number], **more})
        for number in range(4)
    ]
    path = os.path.join(folder, name, options.get("config") or "", "1.0.0")
    if os.path.exists(path):
        return
    tfds.dataset_builders.AdhocBuilder(
        name=name,
        version=options.pop("version", "1.0.0"),
        features=F.FeaturesDict(features),
        split_datasets={"train": examples, "test": examples[:2]},
        data_dir=folder,
        **options,
    ).download_and_prepare()


def seen(split):
    """Images as training gets them, and labels."""
    examples = list(split.references(None).map(split.fetch))
    images = [example["image"] for example in examples]
    images = [decode_image(i) if i.dtype == tf.string else i for i in images]
    return np.stack(images), [int(example["label"]) for example in examples]


def of_tensorflow_datasets(folder, name):
    """Images and labels as they give them, in their order."""
    examples = list(tfds.builder(name, data_dir=folder).as_dataset("train"))
    images = np.stack([example["image"] for example in examples])
    return images, [int(example["label"]) for example in examples]


def test_splits_that_share_examples_are_known_without_reading_them(folder):
    prepare(folder, "shared", F.Image(shape=(8, 8, 3)), pixels(3))
    numbers = open_source("shared", folder, download=False).numbers
    for one, other, shared in (
        ("train", "train[:100%]", 4),
        ("train[:3]", "train[2:]+test", 1),
        ("train", "test", 0),
    ):
        assert len(np.intersect1d(numbers(one), numbers(other))) == shared
    assert len(numbers("train[2:]+test")) == 4


@pytest.mark.parametrize(
    ("spec", "count", "size"),
    [
        ("train[:3]+train[3:]+test[:1]", 2, 2),  # a remainder of each slice
        ("train[:1]+train[3:]+test", 2, 2),
        ("train[:3]+test[1:]", 2, 2),
        ("train", 2, 2),
        ("train", 3, 1),
    ],
)
def test_parts_of_a_streamed_split_have_the_examples_that_they_claim(
    folder, monkeypatch, spec, count, size
):
    prepare(folder, "parts", F.Image(shape=(8, 8, 3)), pixels(3))
    monkeypatch.setattr(prepared_splits, "_MEMORY_LIMIT", 0)
    whole = open_split(open_source("parts", folder, download=False), spec, "`split`")
    parts = [whole.part(index, count) for index in range(count)]
    assert [part.size for part in parts] == [size] * count
    names = [
        [reference["tfds_id"].numpy() for reference in part.references(None)]
        for part in parts
    ]
    assert [len(part) for part in names] == [size] * count
    of_whole = {reference["tfds_id"].numpy() for reference in whole.references(None)}
    found = {name for part in names for name in part}
    assert len(found & of_whole) == size * count


READ = {
    "rgb": ("Image of uint8, 3 channels", F.Image(shape=(8, 8, 3)), pixels(3)),
    "sized": ("Image of uint8, any size", F.Image(), pixels(3, sides=(5, 9))),
    "grey": ("Image of uint8, 1 channel", F.Image(shape=(8, 8, 1)), pixels(1)),
    "alpha": ("Image of uint8, 4 channels", F.Image(shape=(8, 8, 4)), pixels(4)),
    "tensor": (
        "Tensor of uint8, 3 channels",
        F.Tensor(shape=(8, 8, 3), dtype=np.uint8),
        pixels(3),
    ),
    "greytensor": (
        "Tensor of uint8, 1 channel",
        F.Tensor(shape=(8, 8, 1), dtype=np.uint8),
        pixels(1),
    ),
    "alphatensor": (
        "Tensor of uint8, 4 channels, zlib",
        F.Tensor(shape=(8, 8, 4), dtype=np.uint8, encoding="zlib"),
        pixels(4),
    ),
}
WORDS = {1: "grey repeated to RGB", 3: "read", 4: "alpha dropped"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=situation(AREA, READ[name][0])) for name in READ],
)
def test_training_sees_the_pixels_that_tensorflow_datasets_gives(
    name, folder, monkeypatch, outcome
):
    _, image, images = READ[name]
    prepare(folder, name, image, images)
    source = open_source(name, folder, download=False)
    expected, labels = of_tensorflow_datasets(folder, name)
    assert sorted(labels) == [0, 0, 1, 1]
    channels = expected.shape[-1]
    expected = expected.repeat(3, -1) if channels == 1 else expected[..., :3]
    for limit in (2**30, 0):  # held in memory, and streamed
        monkeypatch.setattr(
            "scalenet_training.data.kinds.prepared_splits._MEMORY_LIMIT", limit
        )
        actual, actual_labels = seen(open_split(source, "train", "`train_split`"))
        assert actual.dtype == np.uint8
        np.testing.assert_array_equal(actual, expected)
        assert actual_labels == labels
    assert source.class_names == ("0", "1")
    outcome(f"{WORDS[channels]}; equal to TFDS' pixels")


@pytest.mark.parametrize(
    ("name", "limit", "dtype"),
    [
        ("rgb", 2**28, tf.uint8),
        ("grey", 2**28, tf.uint8),
        ("sized", 2**28, tf.string),
        ("rgb", 4 * 8 * 8 * 3, tf.uint8),
        ("rgb", 4 * 8 * 8 * 3 - 1, tf.string),
    ],
)
def test_few_images_of_one_size_are_decoded_once(
    name, limit, dtype, folder, monkeypatch
):
    _, image, images = READ[name]
    prepare(folder, name, image, images)
    monkeypatch.setattr(
        "scalenet_training.data.kinds.prepared_splits._DECODED_LIMIT", limit
    )
    split = open_split(open_source(name, folder, download=False), "train", "`s`")
    assert split.fetch(tf.constant(0, tf.int64))["image"].dtype == dtype
    expected = of_tensorflow_datasets(folder, name)[0]
    expected = expected.repeat(3 // expected.shape[-1], -1)  # grey as RGB
    np.testing.assert_array_equal(seen(split)[0], expected)


def test_a_damaged_image_is_named_when_it_is_met(folder):
    encoded = [tf.io.encode_png(image).numpy() for image in pixels(3)]
    encoded[2] = encoded[2][: len(encoded[2]) // 2]
    prepare(folder, "damaged", F.Image(shape=(8, 8, 3)), encoded)
    split = open_split(open_source("damaged", folder, download=False), "train", "`s`")
    assert split.fetch(tf.constant(0, tf.int64))["image"].dtype == tf.string
    with (
        pytest.raises(RunError, match=r"`dataset`: .*cannot be decoded"),
        data_errors(split),
    ):
        seen(split)


@situation(AREA, "other features beside image and label")
def test_other_features_are_not_read(folder, monkeypatch, outcome):
    boxes = F.Sequence(F.BBoxFeature())
    prepare(
        folder,
        "boxes",
        F.Image(),
        pixels(3),
        features={"boxes": boxes, "text": F.Text()},
        more={"boxes": [F.BBox(0.0, 0.0, 1.0, 1.0)] * 2, "text": "of some length"},
    )
    source = open_source("boxes", folder, download=False)
    split = source.open_split("train")
    expected = of_tensorflow_datasets(folder, "boxes")[0]
    np.testing.assert_array_equal(seen(split)[0], expected)
    monkeypatch.setattr("scalenet_training.data.kinds.prepared_splits._MEMORY_LIMIT", 0)
    streamed = source.open_split("train").references(None)
    assert set(streamed.element_spec) == {"image", "label", "tfds_id"}
    outcome("passed over; the image is equal to TFDS' pixels")


REFUSED_IMAGES = {
    "floatimage": (
        "Image of float32",
        F.Image(shape=(8, 8, 1), dtype=np.float32),
        FLOATS,
        r"Image \(8, 8, 1\) of float32: nothing says which of its values are black",
    ),
    "sixteen": (
        "Image of uint16",
        F.Image(shape=(8, 8, 3), dtype=np.uint16, encoding_format="png"),
        pixels(3, np.uint16),
        r"Image \(8, 8, 3\) of uint16: nothing says which",
    ),
    "floattensor": (
        "Tensor of float32",
        F.Tensor(shape=(8, 8, 3), dtype=np.float32),
        FLOATS.repeat(3, -1),
        r"Tensor \(8, 8, 3\) of float32: nothing says which",
    ),
    "ints": (
        "Tensor of int64",
        F.Tensor(shape=(8, 8, 3), dtype=np.int64),
        pixels(3, np.int64),
        r"Tensor \(8, 8, 3\) of int64: nothing says which",
    ),
    "flat": (
        "Tensor of uint8, without channels",
        F.Tensor(shape=(8, 8), dtype=np.uint8),
        pixels(1)[..., 0],
        r"it has 2 dimensions and not height, width, channels",
    ),
    "two": (
        "Tensor of uint8, 2 channels",
        F.Tensor(shape=(8, 8, 2), dtype=np.uint8),
        pixels(2),
        r"Tensor \(8, 8, 2\) of uint8: it has 2 channels",
    ),
    "ragged": (
        "Tensor of uint8, of any size",
        F.Tensor(shape=(None, None, 3), dtype=np.uint8, encoding="zlib"),
        pixels(3),
        r"Tensor \(any, any, 3\) of uint8: it has images of many sizes",
    ),
    "video": (
        "Video",
        F.Video(shape=(None, 8, 8, 3)),
        [pixels(3)] * 4,
        r"Video \(any, 8, 8, 3\) of uint8: only Image and Tensor can be read",
    ),
    "mask": (
        "LabeledImage (a mask)",
        F.LabeledImage(shape=(8, 8, 1), labels=2),
        pixels(1) % 2,
        r"LabeledImage \(8, 8, 1\) of uint8: only Image and Tensor can be read",
    ),
    "box": (
        "BBoxFeature",
        F.BBoxFeature(),
        [F.BBox(0.0, 0.0, 1.0, 1.0)] * 4,
        r"BBoxFeature \(4\) of float32: only Image and Tensor can be read",
    ),
    "text": (
        "Text",
        F.Text(),
        ["a"] * 4,
        r"Text of object: only Image and Tensor can be read",
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=situation(AREA, f"image: {REFUSED_IMAGES[name][0]}"))
        for name in REFUSED_IMAGES
    ],
)
def test_an_image_that_is_none_of_8_bits_is_refused_by_name(name, folder, outcome):
    _, image, images, message = REFUSED_IMAGES[name]
    prepare(folder, name, image, images)
    expected = rf"`dataset`: the feature 'image' of {name} .* {message}"
    with pytest.raises(ValueError, match=expected) as error:
        open_source(name, folder, download=False)
    assert "pixels from 0 to 255" in str(error.value)
    outcome("refused: " + str(error.value).split(". ")[1].split(": ", 1)[1])


REFUSED_LABELS = {
    "intlabel": (
        "Scalar of int64",
        F.Scalar(np.int64),
        r"Scalar of int64: it has no classes",
    ),
    "onelabel": (
        "ClassLabel of 1 class",
        F.ClassLabel(num_classes=1),
        r"ClassLabel of 1 class: there is nothing to tell apart",
    ),
    "manylabels": (
        "Sequence of ClassLabel",
        F.Sequence(TWO),
        r"Sequence \(any\) of int64: it has no classes",
    ),
    "textlabel": ("Text", F.Text(), r"Text of object: it has no classes"),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=situation(AREA, f"label: {REFUSED_LABELS[name][0]}"))
        for name in REFUSED_LABELS
    ],
)
def test_a_label_that_is_no_class_is_refused_by_name(name, folder, outcome):
    _, label, message = REFUSED_LABELS[name]
    value = {"manylabels": [0, 1], "textlabel": "a"}.get(name, 0)
    prepare(folder, name, F.Image(), pixels(3), label, [value] * 4)
    expected = rf"`dataset`: the feature 'label' of {name} must be a class.* {message}"
    with pytest.raises(ValueError, match=expected) as error:
        open_source(name, folder, download=False)
    outcome("refused: " + str(error.value).split(": ")[-1].rstrip("."))


@situation(AREA, "features without image and label")
def test_other_names_of_features_are_named(folder, outcome):
    tfds.dataset_builders.AdhocBuilder(
        name="named",
        version="1.0.0",
        features=F.FeaturesDict({"picture": F.Image(), "kind": TWO}),
        split_datasets={"train": [(0, {"picture": pixels(3)[0], "kind": 0})]},
        data_dir=folder,
    ).download_and_prepare()
    with pytest.raises(ValueError, match="must have the features image and label"):
        open_source("named", folder, download=False)
    outcome("refused; the message lists the features that there are")


@situation(AREA, "label: -1, as in unpublished tests")
def test_unlabelled_examples_are_an_error_at_the_start(folder, outcome):
    prepare(folder, "unlabelled", F.Image(), pixels(3), labels=(0, 1, -1, -1))
    source = open_source("unlabelled", folder, download=False)
    with pytest.raises(
        ValueError,
        match="`eval_split`: 2 of the 4 examples of 'train' of unlabelled have no lab",
    ):
        open_split(source, "train", "`eval_split`")
    outcome("refused at the start, with how many there are")


@situation(AREA, "label: -1, in a dataset too large for memory")
def test_unlabelled_examples_that_are_streamed_are_an_error_when_met(
    folder, outcome, monkeypatch
):
    monkeypatch.setattr("scalenet_training.data.kinds.prepared_splits._MEMORY_LIMIT", 0)
    prepare(folder, "unlabelled", F.Image(), pixels(3), labels=(0, 1, -1, -1))
    split = open_source("unlabelled", folder, download=False).open_split("train")
    labels = split.references(None).map(
        lambda reference: checked_label(split.fetch(reference)["label"], classes=2)
    )
    expected = (
        "`dataset`: labels must be from 0 to 1. Received: -1, which marks an example "
        "without label."
    )
    with pytest.raises(RunError) as error, data_errors(split):
        list(labels)
    assert str(error.value) == expected
    outcome("error when it is met: labels must be from 0 to 1")


SPLITS = {
    "train[5:2]": "no split 'train[5:2]' in rgb",
    "train[3:2]": "'train[3:2]' of rgb has no examples",
    "train[:0]": "'train[:0]' of rgb has no examples",
    "train[:200%]": "no split 'train[:200%]' in rgb",
    "trian": "no split 'trian' in rgb",
    "": "no split '' in rgb",
}


@pytest.mark.parametrize(
    "spec",
    [pytest.param(s, marks=situation(AREA, f"split: '{s}' of 4")) for s in SPLITS],
)
def test_splits_without_examples_are_refused(spec, folder, outcome):
    prepare(folder, "rgb", *READ["rgb"][1:])
    source = open_source("rgb", folder, download=False)
    with pytest.raises(ValueError) as error:
        open_split(source, spec, "`train_split`")
    text = str(error.value)
    assert text.startswith(f"`train_split`: {SPLITS[spec]}")
    assert "train (4 examples), test (2 examples)" in text
    kind = "no examples" if "no examples:" in text else "no such split"
    outcome(f"refused: {kind}; the message lists the splits")


@pytest.fixture(scope="module")
def forms(folder):
    """A dataset of three versions, and one of two configurations."""
    images = pixels(3)
    for version in ("1.0.0", "1.2.0", "1.10.0"):
        builder = tfds.dataset_builders.AdhocBuilder(
            name="versions",
            version=version,
            features=F.FeaturesDict({"image": F.Image(), "label": TWO}),
            split_datasets={"train": [(0, {"image": images[0], "label": 0})]},
            data_dir=folder,
        )
        builder.download_and_prepare()
    for config in ("large", "small"):
        prepare(folder, "configs", F.Image(), images, config=config)
    return folder


NAMES = {
    "configs": (
        "several configurations, none named",
        "must say which configuration of configs in '.*': configs/large, configs/small",
    ),
    "configs/medium": (
        "a configuration that is not there",
        r"no 'configs/medium' in .*There: configs/large:1\.0\.0, configs/small:1\.0\.0",
    ),
    "versions:7.0.0": (
        "a version that is not there",
        r"no 'versions:7\.0\.0' in .*There: versions:1\.0\.0, versions:1\.10\.0, ver",
    ),
    "cifar10:9.9.9": (
        "a version that TFDS does not know",
        r"no 'cifar10:9\.9\.9' in .*cifar10 has version \d",
    ),
    "mnist_corrupted/none": (
        "a configuration that TFDS does not know",
        "mnist_corrupted has .*configuration identity",
    ),
    "cifa10": ("a name with a slip", "Did you mean cifar10"),
    "digit": ("a name with a slip, of digits", "Did you mean .*digits"),
    "version": ("a name with a slip, of one's own dataset", "Did you mean versions"),
    "xyzzy_plugh": ("a name that nothing is like", "It must be digits, an existing"),
    "huggingface:mnist": (
        "a community dataset (huggingface:NAME)",
        "community datasets cannot be read. Received: 'huggingface:mnist'",
    ),
    "kubric:kubric": (
        "a community dataset (kubric:NAME)",
        "community datasets cannot be read",
    ),
    "cifar10/data_dir=x": ("arguments in the name", r"must be digits, .*NAME\[/CONFI"),
    "cifar10": ("a dataset that is not prepared", "cifar10 is not in .*`download`"),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=situation(AREA, f"name: {NAMES[n][0]}")) for n in NAMES],
)
def test_names_that_lead_nowhere_are_refused_without_the_network(name, forms, outcome):
    message = NAMES[name][1]
    with pytest.raises(ValueError, match=rf"`dataset`.*{message}") as error:
        open_source(name, forms, download=False)
    text = str(error.value)
    ways = {
        "Did you mean": "did you mean",
        "There: ": "lists what is prepared",
        "must say which": "lists the configurations",
        "`download`": "names --data-dir and --download",
        " has ": "lists what TFDS has",
        "community": "community datasets cannot be read",
    }
    way = next((ways[w] for w in ways if w in text), "says the form of names")
    outcome(f"refused: {way}")


@situation(AREA, "name: several versions, none named")
def test_of_several_versions_the_newest_is_read(forms, outcome):
    versions = {}
    for name in ("versions", "versions:1.2.*", "versions:1.0.0"):
        open_source(name, forms, download=False)
        versions[name] = str(tfds.builder(name, data_dir=forms).version)
    assert [*versions.values()] == ["1.10.0", "1.2.0", "1.0.0"]
    outcome(f"the newest is read: {versions['versions']} before 1.2.0")


@situation(AREA, "label: ClassLabel of 2 classes without names")
def test_classes_without_names_are_called_by_their_numbers(folder, outcome):
    prepare(folder, "rgb", *READ["rgb"][1:])
    source = open_source("rgb", folder, download=False)
    outcome(f"read; the classes are called {' and '.join(source.class_names)}")


def cut(path):
    with open(path, "rb+") as file:
        file.truncate(os.path.getsize(path) // 2)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        pytest.param("gone", os.remove, marks=situation(AREA, "files: one is gone")),
        pytest.param("cut", cut, marks=situation(AREA, "files: one is cut off")),
    ],
)
def test_damaged_files_are_an_error_at_the_start(name, damage, folder, outcome):
    prepare(folder, name, F.Image(), pixels(3))
    (path,) = glob.glob(os.path.join(folder, name, "1.0.0", "*train.tfrecord*"))
    damage(path)
    source = open_source(name, folder, download=False)
    with pytest.raises(ValueError, match=rf"`train_split`: the files of {name} in ."):
        open_split(source, "train", "`train_split`")
    outcome("refused: the files cannot be read; the message names their folder")
