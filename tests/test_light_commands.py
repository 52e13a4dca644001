"""Commands that need no TensorFlow do not wait for it."""

import builtins
import importlib
import json
import subprocess
import sys
import types

import pytest
from processes import TRAINING, environment, finish, start
from scalenet_training.cli import library
from test_export import NAMES, TRANSFORM

import scalenet_tf
from scalenet_tf import export

# Runs a command, and says at the end which slow packages it imported.
RUN = (
    "import runpy, sys\n"
    "sys.argv = sys.argv[1:]\n"
    "try:\n"
    "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
    "finally:\n"
    "    print('slow:', {'tensorflow', 'keras'} & set(sys.modules))\n"
)


def converted(kind, model, folder):
    path = folder / f"model.{kind}"
    write = getattr(export, f"convert_{kind}")
    write(model, path, TRANSFORM, NAMES)
    return path


@pytest.mark.processes
@pytest.mark.parametrize("kind", ["tflite", "onnx", "openvino"])
def test_a_line_is_answered_before_the_next_one_without_tensorflow(
    kind, exports, tmp_path
):
    model = converted(kind, exports.model, tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, f"{TRAINING}/predict.py", "-", "--model", model],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    answers = []
    for name in ("0.jpg", "none.jpg", "2.png"):
        process.stdin.write(f"{exports.images / name}\n")
        process.stdin.flush()
        answers.append(json.loads(process.stdout.readline()))
    out, err = process.communicate()
    assert [answer["valid"] for answer in answers] == [True, False, True]
    assert (process.returncode, out) == (1, "slow: set()\n")
    assert "error: 1 line was answered with an error." in err


@pytest.mark.processes
@pytest.mark.parametrize(
    "words",
    [
        ["curves", "run", "--output", "a.png"],
        ["curves", "run", "--output", "a.svg"],
        ["allocation", "ScaleNet50", "tiny.json", "--output", "a.svg"],
    ],
)
def test_plot_needs_no_tensorflow(words, written):
    output = finish(start(["-c", RUN, f"{TRAINING}/plot.py", *words]))
    assert output.splitlines()[-2:] == [words[-1], "slow: set()"]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package in the place of the library, which counts how often it runs."""
    folder = tmp_path / "lightly"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "import builtins\n"
        "builtins.ran = getattr(builtins, 'ran', 0) + 1\n"
        "from lightly.heavy import name\n"
    )
    (folder / "light.py").write_text("name = 'light'\n")
    (folder / "heavy.py").write_text("name = 'heavy'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(library, "_LIBRARY", "lightly")
    yield
    for name in [name for name in sys.modules if name.startswith("lightly")]:
        del sys.modules[name]
    vars(builtins).pop("ran", None)


def ran():
    return getattr(builtins, "ran", 0)


def test_a_package_waits_until_a_name_of_it_is_asked_for(package):
    library.defer_library()
    light = importlib.import_module("lightly.light")
    assert (light.name, ran()) == ("light", 0)
    from lightly import name

    assert (name, ran()) == ("heavy", 1)
    library.defer_library()
    module = importlib.import_module("lightly")
    assert type(module) is types.ModuleType
    assert (module.light, ran()) == (light, 1)
    with pytest.raises(AttributeError, match="nothing"):
        module.nothing  # noqa: B018


def test_a_library_that_is_there_is_left_as_it_is():
    before = sys.modules["scalenet_tf"]
    library.defer_library()
    assert sys.modules["scalenet_tf"] is before is scalenet_tf
