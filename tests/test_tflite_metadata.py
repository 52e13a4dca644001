"""TFLite's standard metadata in exported files, read without what wrote them."""

import struct
import zipfile

import numpy as np
import pytest
from flatbuffers import encode, number_types
from flatbuffers.table import Table
from tensorflow.lite.python import schema_py_generated as schema
from test_export import NAMES, PHOTOS, TRANSFORM, calibration, classifier

from scalenet_tf import export
from scalenet_tf.preprocessing import EvaluationTransform, decode_image

# Slots of metadata_schema.fbs.
SUBGRAPHS, PARSER_VERSION = 3, 7  # of ModelMetadata
INPUTS, OUTPUTS = 2, 3  # of SubGraphMetadata
CONTENT, PROCESS_UNITS, FILES = 3, 4, 6  # of TensorMetadata
IMAGE_PROPERTIES, NORMALIZATION_OPTIONS, AXIS_LABELS = 2, 1, 2
CENTERED = EvaluationTransform(32, 36, "centered")


class Fields:
    """A table of a flatbuffer, by slots."""

    def __init__(self, data, position):
        self.table = Table(data, position)

    def place(self, slot):
        offset = self.table.Offset(4 + 2 * slot)
        assert offset, f"slot {slot} is empty"
        return self.table.Pos + offset

    def string(self, slot):
        return self.table.String(self.place(slot)).decode()

    def byte(self, slot):
        return self.table.Get(number_types.Uint8Flags, self.place(slot))

    def fields(self, slot):
        return Fields(self.table.Bytes, self.table.Indirect(self.place(slot)))

    def vector(self, slot):
        """The start of a vector and its length."""
        start = self.table.Indirect(self.place(slot))
        (length,) = struct.unpack_from("<I", self.table.Bytes, start)
        return start + 4, length

    def all_fields(self, slot):
        start, length = self.vector(slot)
        places = [start + 4 * index for index in range(length)]
        return [Fields(self.table.Bytes, self.table.Indirect(p)) for p in places]

    def floats(self, slot):
        start, length = self.vector(slot)
        return struct.unpack_from(f"<{length}f", self.table.Bytes, start)


def standard_metadata(path):
    """The root of the standard metadata of a file."""
    model = schema.Model.GetRootAsModel(path.read_bytes(), 0)
    entries = [model.Metadata(index) for index in range(model.MetadataLength())]
    (entry,) = (e for e in entries if e.Name() == b"TFLITE_METADATA")
    data = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    assert data[4:8] == b"M001"
    return Fields(data, encode.Get(number_types.UOffsetTFlags.packer_type, data, 0))


def tensor_names(path):
    """Names of the tensors that go in and come out."""
    graph = schema.Model.GetRootAsModel(path.read_bytes(), 0).Subgraphs(0)
    numbers = [*graph.InputsAsNumpy(), *graph.OutputsAsNumpy()]
    return [graph.Tensors(number).Name().decode() for number in numbers]


@pytest.fixture(scope="module")
def model():
    return classifier()


@pytest.mark.parametrize(
    ("quantization", "input_type", "transform", "mean", "deviation"),
    [
        ("none", "float32", CENTERED, [127.5] * 3, [127.5] * 3),
        (
            *("float16", "float32", TRANSFORM),
            [255 * value for value in (0.4914, 0.4822, 0.4465)],
            [255 * value for value in (0.2470, 0.2435, 0.2616)],
        ),
        ("none", "uint8", TRANSFORM, [0] * 3, [1] * 3),
        ("int8", "uint8", TRANSFORM, [0] * 3, [1] * 3),
    ],
    ids=["float32", "float16", "pixels", "int8"],
)
def test_a_file_says_what_it_takes_and_gives(
    quantization, input_type, transform, mean, deviation, model, tmp_path
):
    path = tmp_path / "a.tflite"
    images = calibration() if quantization == "int8" else None
    options = {"quantization": quantization, "input_type": input_type}
    export.convert_tflite(model, path, transform, NAMES, **options, calibration=images)
    assert tensor_names(path) == ["images", "probabilities", "logits"]
    root = standard_metadata(path)
    assert (root.string(0), root.string(PARSER_VERSION)) == (model.name, "1.0.0")
    (subgraph,) = root.all_fields(SUBGRAPHS)
    (image,) = subgraph.all_fields(INPUTS)
    content = image.fields(CONTENT)
    assert content.byte(0) == IMAGE_PROPERTIES
    assert content.fields(1).byte(0) == 1  # RGB
    (unit,) = image.all_fields(PROCESS_UNITS)
    assert unit.byte(0) == NORMALIZATION_OPTIONS
    np.testing.assert_allclose(unit.fields(1).floats(0), mean, rtol=1e-6)
    np.testing.assert_allclose(unit.fields(1).floats(1), deviation, rtol=1e-6)
    outputs = subgraph.all_fields(OUTPUTS)
    assert [output.string(0) for output in outputs] == ["probabilities", "logits"]
    for output in outputs:
        (file,) = output.all_fields(FILES)
        assert (file.string(0), file.byte(2)) == ("labels.txt", AXIS_LABELS)
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().splitlines() == NAMES
        assert not any(entry.compress_type for entry in archive.infolist())
    assert export.read_metadata(path)["class_names"] == NAMES


def test_a_name_of_several_lines_is_one_label(model, tmp_path):
    path = tmp_path / "a.tflite"
    names = ["a\nb", "c\r\nd", *NAMES[2:]]
    export.convert_tflite(model, path, CENTERED, names)
    with zipfile.ZipFile(path) as archive:
        lines = archive.read("labels.txt").decode().split("\n")
    assert lines == ["a b", "c d", *NAMES[2:], ""]
    assert export.read_metadata(path)["class_names"] == names


@pytest.mark.slow
@pytest.mark.parametrize("input_type", ["float32", "uint8"])
def test_mediapipe_gives_what_keras_gives(input_type, model, tmp_path):
    mediapipe = pytest.importorskip("mediapipe", reason="needs mediapipe")
    from mediapipe.tasks.python import BaseOptions, vision

    path = tmp_path / "a.tflite"
    export.convert_tflite(model, path, CENTERED, NAMES, input_type=input_type)
    options = vision.ImageClassifierOptions(BaseOptions(model_asset_path=str(path)))
    pixels = np.stack([CENTERED.crop(decode_image(data)) for data in PHOTOS])
    pixels = np.round(pixels).astype(np.uint8)
    with vision.ImageClassifier.create_from_options(options) as runtime:
        for image, row in zip(pixels, model(CENTERED.normalize(pixels)), strict=True):
            given = mediapipe.Image(mediapipe.ImageFormat.SRGB, image)
            probabilities, _ = runtime.classify(given).classifications
            assert probabilities.head_name == "probabilities"
            for category in probabilities.categories:
                assert category.category_name == NAMES[category.index]
                expected = pytest.approx(float(row[category.index]), abs=1e-5)
                assert category.score == expected
