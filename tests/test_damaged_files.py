"""Files that are damaged, or made to do harm: refused by name, before any work."""

import io
import json
import os
import socket
import zipfile

import h5py
import keras
import numpy as np
import pytest
import situations
from conftest import TINY_CIFAR
from scalenet_training.cli.running import run
from scalenet_training.data.files.rows import read_rows, write_rows
from scalenet_training.data.sources import open_source
from scalenet_training.errors import UsageError
from scalenet_training.export.config import ExportConfig
from scalenet_training.export.exporter import export_model
from scalenet_training.networks.exported_files import open_intact
from scalenet_training.predict.answers import Answer, as_table
from scalenet_training.predict.config import PredictConfig
from scalenet_training.runs.run_folder import RunFolder
from scalenet_training.settings.base import MAX_SIDE
from scalenet_training.settings.training import TrainConfig
from scalenet_training.text import printable
from scalenet_training.tune.folder import SearchFolder

import scalenet_tf
from scalenet_tf import architectures, export
from scalenet_tf.files import MAX_BYTES, parse_json, read_json
from scalenet_tf.serving import Prediction
from scalenet_tf.weights import open_weights

AREA = "damaged and foreign files"


def situation(name):
    return situations.situation(AREA, name)


@pytest.fixture(scope="module")
def model():
    return scalenet_tf.ScaleNet(TINY_CIFAR, classes=10)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "whole.keras"
    model.save(path)
    return path.read_bytes()


def rewritten(data, **changed):
    """An archive with other members, by the last word of their names' stems."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (members | changed).items():
            if content is not None:
                archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\xff", "'utf-8' codec can't decode"),
        (b"\xef\xbb\xbf{}", "Unexpected UTF-8 BOM"),
        (b"[" * 65 + b"]" * 65, "at most 64 levels"),
        (b"[" * 10**5, "at most 64 levels"),
        (b'{"a": [{"b": 1, "b": 2}]}', "the field 'b' twice"),
        (b"1" * 33, "at most 32 digits, and one has 33"),
        (b"1" * 5000, "at most 32 digits, and one has 5000"),
        (b" " * MAX_BYTES + b"1", "at most 16,777,216 bytes"),
    ],
    ids=["not UTF-8", "BOM", "deep", "deeper", "twice", "33", "5000", "large"],
)
def test_json_that_python_takes_or_breaks_on_is_refused(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        parse_json(text)
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(ValueError, match=message):
        read_json(tmp_path / "a.json")


def test_json_up_to_the_bounds_is_read():
    assert parse_json(b"[" * 64 + b"]" * 64)[0][0] == parse_json(b"[" * 62 + b"]" * 62)
    assert parse_json("9" * 32) == 10**32 - 1
    assert parse_json(b'{"a": "\\ud800", "b": NaN}')["a"] == "\ud800"


# Name -> fields of a record, and what is said of them.
TOO_MUCH = {
    "10**9 neurons": ({"allocation": [[10**9, 0, 0], [1, 0, 0]]}, "stage_widths"),
    "10**9 channels": ({"stage_widths": [10**9, 8]}, "at most 536,870,912 parameters"),
    "10**9 pixels": ({"native_size": 10**9}, "`native_size` must .* at most 4096"),
    "10**9 as a scale": ({"scales": [1, 2, 10**9]}, "`scales` must be at most 16"),
    "feature maps of gigabytes": (
        {"native_size": 4096, "stage_widths": [1000, 8]},
        "feature maps of at most 268,435,456 numbers",
    ),
    "1001 blocks": (
        {"blocks_per_stage": [1000, 1], "allocation": [[1, 0, 0]] * 1001},
        "at most 1000 blocks",
    ),
    "NaN": ({"native_size": float("nan")}, "`native_size` must be a positive"),
    "a number as learned_on": ({"learned_on": 3}, "`learned_on` must be a name"),
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param(
            {"budget_per_stage": None, **TOO_MUCH[name][0]},
            TOO_MUCH[name][1],
            marks=situation(f"architecture: {name}"),
            id=name,
        )
        for name in TOO_MUCH
    ],
)
def test_an_architecture_does_not_decide_over_memory(
    changed, message, tmp_path, outcome
):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(TINY_CIFAR.to_record() | changed))
    with pytest.raises(ValueError, match=message) as refused:
        scalenet_tf.load_architecture(path)
    assert str(refused.value).startswith(f"{path}: `")
    outcome("refused, naming file and field; nothing is built")


def test_parameters_are_those_of_the_model(model, tiny):
    assert TINY_CIFAR.parameters(10) == scalenet_tf.profiling.count_parameters(model)
    counted = scalenet_tf.profiling.count_parameters(scalenet_tf.ScaleNet(tiny))
    assert tiny.parameters() == counted


def test_the_published_networks_and_their_seeds_are_within_the_bounds():
    for name in scalenet_tf.list_models("ScaleNet*"):
        architecture = scalenet_tf.get_architecture(name)
        seed = scalenet_tf.allocation.seed_architecture(architecture)
        assert seed.parameters() < 0.4 * architectures.MAX_PARAMETERS


def test_classes_by_the_billion_are_refused():
    with pytest.raises(ValueError, match=r"`classes` must .* for 1,000,000,000"):
        scalenet_tf.ScaleNet(TINY_CIFAR, classes=10**9)


def config_with(data, old, new):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        text = archive.read("config.json")
    assert old in text
    return rewritten(data, **{"config.json": text.replace(old, new)})


KERAS_FILES = {
    "a member of 32 MiB of zeros": (
        lambda data: rewritten(data, **{"assets/zeros": b"\0" * 2**25}),
        "at most 20 times as many are unpacked",
    ),
    "a member outside of its folder": (
        lambda data: rewritten(data, **{"../../x": b"x"}),
        r"its member '../../x' would be outside",
    ),
    "10**9 classes in config.json": (
        lambda data: config_with(data, b'"units": 10,', b'"units": 1000000000,'),
        "describes a model of 33,000,00",
    ),
    "config.json nested 10**5 deep": (
        lambda data: rewritten(data, **{"config.json": b"[" * 10**5}),
        "at most 64 levels",
    ),
    "a program as a layer": (
        lambda data: config_with(
            data,
            b'"module": "keras.layers", "class_name": "GlobalAveragePooling2D"',
            b'"module": "os", "class_name": "system"',
        ),
        "could not be deserialized",
    ),
    "a download as an activation": (
        lambda data: config_with(
            data,
            b'"activation": "softmax"',
            b'"activation": {"module": "keras.utils", "class_name": "function", '
            b'"config": "get_file", "registered_name": "function"}',
        ),
        "could not be deserialized",
    ),
    "no weights": (
        lambda data: rewritten(data, **{"model.weights.h5": None}),
        "it has no model.weights.h5",
    ),
    "another class of layer": (
        lambda data: config_with(data, b'"GlobalAveragePooling2D"', b'"Unknown"'),
        "Unknown' because it is not",
    ),
    "one bit of the weights flipped": (
        lambda data: data[:60_000] + bytes([data[60_000] ^ 1]) + data[60_001:],
        "its member 'model.weights.h5' is damaged",
    ),
    "cut off": (lambda data: data[: len(data) // 2], "not a zip file"),
    "empty": (lambda data: b"", "not a zip file"),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(*KERAS_FILES[name], marks=situation(f".keras: {name}"), id=name)
        for name in KERAS_FILES
    ],
)
def test_a_keras_file_is_whole_and_in_proportion(
    change, message, saved, tmp_path, outcome
):
    path = tmp_path / "a.keras"
    path.write_bytes(change(saved))
    with pytest.raises(ValueError, match=message) as refused:
        scalenet_tf.load_model(path)
    assert str(refused.value).startswith(f"{str(path)!r} is not a saved model")
    assert os.listdir(tmp_path) == ["a.keras"]
    outcome("refused, naming the file; nothing is unpacked or built")


def test_what_was_only_counted_is_not_built_later(saved, tmp_path):
    """Keras fills variables that wait for it when any other network is built."""
    path = tmp_path / "a.keras"
    path.write_bytes(KERAS_FILES["10**9 classes in config.json"][0](saved))
    with pytest.raises(ValueError, match="describes a model"):
        scalenet_tf.load_model(path)
    scalenet_tf.ScaleNet(TINY_CIFAR, classes=2)
    with open("/proc/self/status") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    assert peak < 30 * 2**20  # KiB; the weights would have 132 GB


def test_a_class_of_a_scope_is_known(model, tmp_path):
    class Doubled(keras.layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    outputs = Doubled()(model.outputs[0])
    keras.Model(model.inputs, outputs).save(tmp_path / "a.keras")
    with keras.saving.custom_object_scope({"Doubled": Doubled}):
        loaded = scalenet_tf.load_model(tmp_path / "a.keras")
    assert type(loaded.layers[-1]) is Doubled


@situation(".weights.h5: an array of 40 TB, of which nothing is stored")
def test_arrays_are_in_proportion_to_their_file(model, tmp_path, outcome):
    path = tmp_path / "a.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        file["layers"].create_dataset("more", (10**9, 10**4), "f4", chunks=(100, 100))
    with pytest.raises(ValueError, match="20 times as many are unpacked") as refused:
        open_weights(path).check(10, 3)
    assert str(path) in str(refused.value)
    outcome("refused, naming the file")


WHOLE = {
    "class_names": ["a", "b"],
    "image_size": 32,
    "resize": 36,
    "normalization": "centered",
}
METADATA = {
    "class_names": ["a", 3],
    "image_size": 10**9,
    "resize": True,
    "normalization": "mine",
    "image_sides": [32],
    "input_type": "int4",
}


@pytest.mark.parametrize("field", METADATA)
def test_metadata_of_an_export_name_the_field(field, tmp_path):
    path = tmp_path / "assets.extra" / "scalenet.json"
    path.parent.mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"")
    path.write_text(json.dumps(WHOLE))
    assert export.read_metadata(tmp_path) == WHOLE
    path.write_text(json.dumps(WHOLE | {field: METADATA[field]}))
    with pytest.raises(export.ExportError, match=f"the field '{field}' of") as refused:
        export.read_metadata(tmp_path)
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize(
    "sides", [{"image_sides": [12, 32]}, {"smallest_side": 33}], ids=str
)
def test_sizes_of_an_export_fit_each_other(sides, tmp_path):
    path = tmp_path / "assets.extra" / "scalenet.json"
    path.parent.mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"")
    path.write_text(json.dumps(WHOLE | {"image_sides": [None, 32], "smallest_side": 2}))
    assert export.read_metadata(tmp_path)["smallest_side"] == 2
    path.write_text(json.dumps(WHOLE | sides))
    with pytest.raises(export.ExportError, match="must allow its image_size of 32"):
        export.read_metadata(tmp_path)


@situation("SavedModel: without scalenet.json, as of a stranger")
def test_a_savedmodel_of_unknown_origin_is_not_loaded(tmp_path, outcome):
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(export.ExportError, match="can run code and write files"):
        export.open_exported(tmp_path)
    outcome("refused; the message says that loading one can run code and write files")


@situation("SavedModel: a file that is not what model_card.json says")
def test_an_export_is_that_of_its_card(written, outcome):
    place = "repo/tiny/1"
    assert len(open_intact("repo/tiny").class_names) == 10
    with open(f"{place}/variables/variables.index", "ab") as file:
        file.write(b"\0")
    with pytest.raises(UsageError, match=r"tiny/1/variables/variables.index' has chan"):
        open_intact("repo/tiny")
    os.remove(f"{place}/model_card.json")
    with pytest.raises(UsageError, match=r"'repo/tiny/1' is damaged, or not"):
        open_intact("repo/tiny")
    outcome("refused, exit code 2; the message names the file")


RECORDS = {
    "class_names": (["a", 3], "its field 'class_names' is wrong"),
    "command": ([], "its field 'command' is empty"),
    "image_size": (10**9, "its field 'image_size' must be a number of pixels"),
    "architecture": ({"name": 3}, "its field 'architecture.name' is no text"),
}


@pytest.mark.parametrize("field", RECORDS)
def test_a_record_names_the_field(field, written):
    value, message = RECORDS[field]
    with open("run/config.json") as file:
        content = json.load(file) | {field: value}
    with open("run/config.json", "w") as file:
        json.dump(content, file)
    with pytest.raises(UsageError, match=message) as refused:
        RunFolder("run").read_record()
    assert str(refused.value).startswith("'run/config.json' is no run's config.json")


METRICS = {
    "no such column": (("val_loss", "value"), "it has no column 'val_loss'"),
    "no number": ((",2.", ",two."), "line 2, column 'loss' must be a number"),
    "a row too long": (("\r\n1,", "\r\n1,,"), "line 3"),
}


@pytest.mark.parametrize("name", METRICS)
def test_metrics_name_line_and_column(name, written):
    (old, new), message = METRICS[name]
    path = written / "run" / "metrics.csv"
    data = path.read_bytes().decode()
    assert old in data
    path.write_bytes(data.replace(old, new, 1).encode())
    with pytest.raises(UsageError, match=message):
        RunFolder("run").rows()
    config = RunFolder("run").read_record().config
    with pytest.raises(UsageError, match=message):  # before an epoch is trained
        RunFolder("run").check(config)


@situation("metrics.csv: damaged, in an export")
def test_nothing_is_written_before_all_is_read(written, outcome):
    (written / "run" / "metrics.csv").write_text("epoch\n")
    config = ExportConfig("run", name="a", to="out", format="onnx")
    with pytest.raises(UsageError, match=r"'run/metrics.csv' is no run's metrics.csv"):
        export_model(config)
    assert not (written / "out").exists()
    outcome("error, exit code 2; nothing is written")


def test_a_damaged_index_is_made_anew(tmp_path):
    path = str(tmp_path / "a.csv.gz")
    write_rows(path, [["a"], *([str(n)] for n in range(1000))])
    data = (tmp_path / "a.csv.gz").read_bytes()
    for place in range(0, len(data), 7):
        changed = data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]
        (tmp_path / "a.csv.gz").write_bytes(changed)
        read_rows(path, ["a"], tuple)  # no error of zlib


@situation("oracle.json: the name of a trial leads out of the folder")
def test_the_names_of_trials_stay_in_their_folder(written, outcome):
    path = "search/twin/oracle.json"
    with open(path) as file:
        state = json.load(file)
    state["start_order"] = ["../../other"]
    with open(path, "w") as file:
        json.dump(state, file)
    with pytest.raises(UsageError, match=r"oracle.json' is damaged .*'../../other'"):
        SearchFolder("search").read_state("twin")
    outcome("refused, exit code 2; the message names the file")


def test_names_are_printed_without_what_moves_a_terminal():
    assert printable("a\x1b[31mb\r\n\u202ec") == r"a\x1b[31mb\r\n\u202ec"
    assert printable("\udce9\ud800") == r"\xe9\ud800"
    assert printable("猫 \u3000 é\u00a0ß") == "猫 \u3000 é\u00a0ß"
    names = ("\x1b]0;title\x07cat",)
    table = as_table([Answer("a\n.png", Prediction(names, (1.0,), (0,)))])
    assert table.splitlines()[1].split() == [
        *(r"a\n.png", "1", r"\x1b]0;title\x07cat", "1.000000")
    ]


def test_messages_are_printable_and_not_endless(capsys):
    def fail():
        raise UsageError("\x1b[2Jname " + "x" * 10**6 + " end")

    with pytest.raises(SystemExit) as ended:
        run(fail)
    text = capsys.readouterr().err
    assert ended.value.code == 2
    assert text.startswith("error: \\x1b[2Jname xxx")
    assert text.endswith("xxx end\n")
    assert len(text) < 5000


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_size": 100_000}, "`image_size` must be a number of pixels from 1 to"),
        ({"eval_resize": 0}, "`eval_resize` must be a number of pixels from 1 to 4096"),
        ({"virtual_devices": 100_000}, "`virtual_devices` must be from 0 to 256"),
        ({"workdir": "run\udcff"}, "`workdir` must be text in UTF-8"),
        ({"model": "\ud800"}, "`model` must be text in UTF-8"),
    ],
)
def test_settings_beyond_reason_are_refused(values, message):
    with pytest.raises(UsageError, match=message):
        TrainConfig(**values)


def test_sizes_for_prediction_have_the_same_bounds():
    assert MAX_SIDE == architectures.MAX_SIDE
    with pytest.raises(UsageError, match="`image_size` must be a number of pixels"):
        PredictConfig(("a.png",), "run", image_size=0)


@pytest.mark.parametrize("name", ["a:b", "huggingface:a/b", "a:1.2.3", "gs://a/b"])
def test_names_with_a_colon_stay_here(name, tmp_path, monkeypatch):
    def connect(*_):
        pytest.fail("it asked the network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    with pytest.raises(ValueError, match="`dataset`"):
        open_source(name, str(tmp_path), download=False)


def test_an_archive_with_less_than_it_declares_is_refused(saved, tmp_path):
    """The size that the directory gives is not the size that comes."""
    with zipfile.ZipFile(io.BytesIO(saved)) as archive:
        info = archive.getinfo("model.weights.h5")
    place = saved.rindex(b"model.weights.h5") - 46
    changed = bytearray(saved)
    changed[place + 24 : place + 28] = np.uint32(info.file_size - 8).tobytes()
    (tmp_path / "a.keras").write_bytes(changed)
    with pytest.raises(ValueError, match="is not a saved model"):
        scalenet_tf.load_model(tmp_path / "a.keras")
