"""predict.py: every kind of model, and what can go wrong."""

import itertools
import json
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import served
from processes import ROOT, TRAINING, environment, finish, free_ports, start
from test_commands import in_process
from test_export import NAMES, PHOTOS, TRANSFORM, TRUNCATED

from scalenet_tf import export

pytestmark = pytest.mark.runs

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.fixture(scope="module")
def models(exports):
    """What --model may be, except a URL, for the network of version 1."""
    run = exports.save_run(exports.folder / "run")
    for kind in ("float32", "uint8"):
        export.convert_tflite(
            exports.model,
            exports.folder / f"{kind}.tflite",
            TRANSFORM,
            NAMES,
            input_type=kind,
        )
    return {
        "run": run,
        "keras": run / "best.keras",
        "savedmodel": exports.repository / "tiny" / "1",
        "tflite": exports.folder / "float32.tflite",
        "tflite_uint8": exports.folder / "uint8.tflite",
    }


@pytest.fixture
def predict(monkeypatch, capsys):
    """Runs the command in this process: exit code, stdout, stderr."""

    def run(*arguments):
        capsys.readouterr()
        code = in_process(monkeypatch, "predict.py", *map(str, arguments))
        return code, *capsys.readouterr()

    return run


def probabilities(text):
    """{file: {class: probability}} of --json."""
    return {
        entry["file"]: {p["class"]: p["probability"] for p in entry["predictions"]}
        for entry in json.loads(text)
    }


def test_every_kind_of_model_gives_the_same(models, exports, repository, predict):
    with (
        served.running("rest", repository) as rest,
        served.running("grpc", repository) as grpc,
    ):
        kinds = {**models, "rest": rest.url("tiny/versions/1"), "grpc": grpc.url()}
        kinds["grpc"] += "/labels/stable"
        found = {}
        for kind, model in kinds.items():
            options = ["--json", "--batch-size", 3, "--model", model]
            code, out, err = predict(exports.images, *options)
            assert code == 0, err
            found[kind] = probabilities(out)
    files = sorted(str(path) for path in exports.images.iterdir())
    assert [*found["savedmodel"]] == files
    expected = found.pop("savedmodel")
    # Its pixels are rounded, which a photograph that is only cropped does not show.
    cropped = next(path for path in files if path.endswith(".png"))
    pixels = found.pop("tflite_uint8")
    for path, kind in itertools.product(files, found):
        assert_same(found[kind][path], expected[path], 1e-5)
    assert_same(pixels[cropped], expected[cropped], 1e-5)
    for path in files:
        assert_same(pixels[path], expected[path], 1e-2)


def assert_same(found, expected, bound):
    both = {*found} & {*expected}
    assert len(both) >= 4  # of 5; equally likely ones may change places
    np.testing.assert_allclose(
        [found[key] for key in both], [expected[key] for key in both], atol=bound
    )


def test_probabilities_are_those_of_the_served_graph(models, exports, predict):
    version = exports.loaded().models["tiny"][1]
    outputs = version.run("serving_bytes", {"image_bytes": np.array(PHOTOS, object)})
    options = ["--json", "--top-k", 99, "--model", models["savedmodel"]]
    found = probabilities(predict(exports.images, *options)[1])
    for row, path in zip(outputs["probabilities"], sorted(found), strict=True):
        assert len(found[path]) == 10
        for number, value in found[path].items():
            assert abs(row[number] - value) < 1e-6


def test_a_name_folder_is_its_highest_version_and_files_are_shown_once(
    exports, predict, tmp_path
):
    (exports.repository / "tiny" / "notes").mkdir(exist_ok=True)
    model = exports.repository / "tiny"
    image = exports.images / "0.jpg"
    options = ["--top-k", "2", "--model", model]
    code, out, _ = predict(image, exports.images, image, *options)
    assert code == 0
    header, *lines = out.splitlines()
    assert re.split("  +", header) == ["file", "rank", "name", "probability"]
    assert len(lines) == 8
    assert len({line.index("Klasse") for line in lines}) == 1
    path, rank, name, value = re.split("  +", lines[0])
    assert (path, rank, name) == (str(image), "1", NAMES[3])  # what version 2 prefers
    assert 0.5 < float(value) <= 1


def test_a_keras_file_outside_a_run_needs_what_the_run_would_say(
    models, exports, predict, tmp_path
):
    alone = tmp_path / "alone.keras"
    alone.write_bytes(models["keras"].read_bytes())
    options = ["--json", "--model", alone, "--normalization", "cifar10"]
    code, out, err = predict(exports.images, *options, "--eval-resize", 36)
    assert code == 0, err
    expected = predict(exports.images, "--json", "--model", models["run"])[1]
    assert probabilities(out) == probabilities(expected)
    first = json.loads(out)[0]["predictions"][0]
    assert first["name"] == str(first["class"])
    (tmp_path / "names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    names = ["--class-names", tmp_path / "names.txt", "--eval-resize", 36]
    assert json.loads(predict(exports.images, *options, *names)[1]) == json.loads(
        expected
    )
    (tmp_path / "names.txt").write_text("one")
    code, _, err = predict(exports.images, *options, *names)
    assert (code, "--class-names must have one name for each" in err) == (2, True)


KINDS = ("run", "savedmodel", "tflite")


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_are_no_images_are_named_and_the_others_shown(
    kind, models, exports, predict, tmp_path
):
    check_damaged(tmp_path, exports, predict, models[kind])


def test_a_savedmodel_that_marks_what_is_no_image(exports, predict, tmp_path):
    check_damaged(tmp_path, exports, predict, exports.repository / "tiny" / "2")


@pytest.mark.parametrize("version", [1, 2])
def test_a_server_and_files_that_are_no_images(
    server, version, exports, predict, tmp_path
):
    url = server.url(f"tiny/versions/{version}")
    check_damaged(tmp_path, exports, predict, url)
    # One that fails as a whole is asked again without the damaged ones.
    assert server.faults.requests == (2 if version == 1 else 1)


def check_damaged(folder, exports, predict, model):
    bad = [folder / "cut.jpg", folder / "text.png", folder / "heic.jpg"]
    for path, data in zip(bad, (TRUNCATED, b"no image", HEIC), strict=True):
        path.write_bytes(data)
    good = [exports.images / "0.jpg", exports.images / "2.png"]
    files = [good[0], bad[0], bad[1], good[1], bad[2]]
    code, out, err = predict(*files, "--json", "--model", model)
    assert code == 1
    reasons = (
        "a JPEG that is damaged or cut off",
        "not a JPEG, PNG, BMP or GIF image",
        "HEIC, which is not decoded; convert it to JPEG or PNG",
    )
    named = [f"{p} ({why})" for p, why in zip(bad, reasons, strict=True)]
    assert f"error: cannot be decoded: {', '.join(named)}." in err
    found = json.loads(out)
    assert [entry["file"] for entry in found] == [str(path) for path in files]
    assert [entry["valid"] for entry in found] == [path in good for path in files]
    assert [len(entry["predictions"]) for entry in found] == [5, 0, 0, 5, 0]


def test_only_files_that_are_no_images(models, predict, tmp_path):
    (tmp_path / "a.png").write_text("x")
    for kind in KINDS:
        code, out, err = predict(tmp_path, "--model", models[kind])
        assert code == 1
        assert out.split() == ["file", "rank", "name", "probability"]
        assert "a.png" in err


def bad_arguments(tmp_path):
    """What is wrong -> arguments, and a part of the message."""
    image = tmp_path / "a.jpg"
    image.write_bytes(PHOTOS[0])
    (tmp_path / "other.tflite").write_text("x")
    for folder in ("empty", "other", "halfrun"):
        (tmp_path / folder).mkdir()
    (tmp_path / "other" / "saved_model.pb").write_text("x")
    (tmp_path / "halfrun" / "config.json").write_text("{}")
    (tmp_path / "halfrun" / "best.keras").write_text("x")
    (tmp_path / "alone.keras").write_text("x")
    given = {
        "no images": ([], "http://h/v1/models/m", "IMAGES must be one file"),
        "no file": (["b.jpg"], "http://h/v1/models/m", "no file or folder 'b.jpg'"),
        "empty folder": (["empty"], "http://h/v1/models/m", "no .jpg, .jpeg, .png"),
        "no model": (
            [image],
            "missing",
            "or the file or folder of a model, that exists, or one of cifar10:ResNet",
        ),
        "empty model": ([image], "empty", "--model must be one of: the URL"),
        "no run": ([image], "alone.keras", "--normalization must be given"),
        "no tflite": ([image], "none.tflite", "that exists, or one of cifar10:"),
        "form": ([image], "http://h/m", "--model 'http://h/m': the URL of a served"),
        "scheme": ([image], "ftp://h/m", "must be http[s]://HOST:PORT/v1/models/NAME"),
        "foreign tflite": ([image], "other.tflite", "was not exported by scalenet_tf"),
        "foreign folder": ([image], "other", "was not exported by scalenet_tf"),
        "half a run": ([image], "halfrun", "is no run's config.json"),
    }
    return {
        name: ([*images, "--model", model], text)
        for name, (images, model, text) in given.items()
    } | {
        "top-k": (
            [image, "--model", "x", "--top-k", 0],
            "--top-k must be more than 0. Received: 0",
        ),
        "batch": ([image, "--model", "x", "--batch-size", -1], "--batch-size must be"),
        "model": ([image], "--model"),
    }


def test_bad_arguments_end_with_a_line_and_2(predict, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    cases = bad_arguments(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for name, (arguments, message) in cases.items():
        code, out, err = predict(*arguments)
        assert (code, out) == (2, ""), name
        assert message in err
    assert sorted(tmp_path.rglob("*")) == before


def test_missing_packages_are_errors_with_the_command(
    predict, models, exports, monkeypatch
):
    image = exports.images / "0.jpg"
    for module, model, extra in (
        ("aiohttp", "http://h/v1/models/m", "serving"),
        ("tenacity", "grpc://h/m", "serving"),
        ("grpc", "grpc://h/m", "serving"),
        ("ai_edge_litert.interpreter", models["tflite"], "export"),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            code, _, err = predict(image, "--model", model)
        assert code == 2
        assert f"pip install 'scalenet_tf[{extra}]'" in err


@pytest.mark.parametrize(
    ("fault", "name", "code", "message"),
    [
        ("slow", "tiny", 1, "did not answer within 0.3 s"),
        ("error", "tiny", 1, "the disk is on fire"),
        ("garbage", "tiny", 1, "answer"),
        ("refuse", "tiny", 1, "the server is starting (2 attempts)"),
        (None, "tini", 2, "Servable not found for request: Latest(tini)"),
        (None, "tiny/versions/9", 2, "Specific(tiny, 9)"),
        (None, "tiny/labels/x", 2, "Unrecognized servable version label: x"),
    ],
)
def test_servers_that_do_not_answer(
    server, fault, name, code, message, exports, predict
):
    server.faults.kind = fault
    timeout = 0.3 if fault == "slow" else 60
    options = ["--timeout", timeout, "--attempts", 2, "--model", server.url(name)]
    found, out, err = predict(exports.images, *options)
    assert (found, out) == (code, "")
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert f"127.0.0.1:{server.port}" in line


def test_more_classes_than_a_server_names(server, exports, predict):
    code, _, err = predict(exports.images, "--top-k", 6, "--model", server.url())
    assert code == 2
    assert "error: --top-k must be at most 5" in err


SCRIPTS = {"rest": "tests/serving_rest.py", "grpc": "tests/serving_grpc.py"}


@pytest.fixture(params=["rest", "grpc"])
def server_process(request, exports):
    """A server as a process of its own, without Keras and this package."""
    code = (
        "import runpy, sys\n"
        "for name in ('keras', 'tf_keras', 'scalenet_tf', 'scalenet_training'):\n"
        "    sys.modules[name] = None\n"
        f"sys.path.insert(0, {ROOT!r} + '/tests')\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    script = f"{ROOT}/{SCRIPTS[request.param]}"
    options = ["--port", "0", "--label", "tiny:stable=1"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, script, str(exports.repository), *options],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        lines = list(itertools.takewhile(lambda x: "port" not in x, process.stdout))
        assert [line.split()[1:] for line in lines] == [["(versions", "2,", "1)"]]
        yield process, lines[-1].split()[0]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.processes
def test_a_server_and_the_command_as_processes(server_process, exports, tmp_path):
    process, url = server_process
    text, image = tmp_path / "text.jpg", str(exports.images / "0.jpg")
    text.write_text("no image")
    options = ["--model", f"{url}/labels/stable", "--top-k", "3"]
    output = predicted(image, str(tmp_path), *options, code=1)
    assert len([line for line in output.splitlines() if image in line]) == 3
    assert f"decoded: {text} (not a JPEG, PNG, BMP or GIF image)." in output
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    output = predicted(image, "--model", url, "--attempts", "2", code=1)
    assert "is unavailable" in output
    assert "(2 attempts)" in output


def predicted(*arguments, code):
    output = finish(start([f"{TRAINING}/predict.py", *arguments]), code)
    assert "Traceback" not in output
    return output


@pytest.mark.processes
def test_a_served_model_needs_neither_its_own_runtime_nor_another_client(exports):
    code = (
        "import runpy, sys\n"
        "sys.argv = sys.argv[1:]\n"
        "try:\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as exit_:\n"
        "    assert exit_.code == 1\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "assert not {'ai_edge_litert', 'grpc', 'tensorflow_serving'} & loaded\n"
        "assert not {'tensorflow', 'keras'} & loaded\n"
        "assert 'aiohttp' in loaded\n"
        "print('checked')\n"
    )
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/v1/models/tiny"
    command = [f"{TRAINING}/predict.py", str(exports.images), "--model", url]
    process = start(["-c", code, *command, "--attempts", "1"])
    assert "checked" in finish(process)
