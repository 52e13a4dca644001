"""What TensorFlow says when a command imports it."""

import os
import pathlib
import subprocess
import sys

import pytest

TRAINING = pathlib.Path(__file__).parents[1] / "training"
# A package in TensorFlow's place, which says what TensorFlow does, by its descriptor.
PACKAGE = """
import os, types

os.write(2, {said!r})
config = types.SimpleNamespace(list_physical_devices=lambda: os.write(2, {devices!r}))
{end}
"""
SAID = b"""WARNING: All log messages before absl::InitializeLog() is called are written
I0000 00:00:1795786201.6 26815 port.cc:153] oneDNN custom operations are on.
W0000 00:00:1795786201.7 26815 gpu_device.cc:2431] Cannot dlopen some GPU libraries.
"""
DEVICES = b"""E0000 00:00:1795786175.4 26680 cuda.cc:52] failed call to cuInit: (303)
E0000 00:00:1795786175.5 26680 cuda.cc:52] failed call to cuInit: (999)
"""
KEPT = "gpu_device.cc:2431] Cannot dlopen some GPU libraries."


def stderr_of(tmp_path, end="", level=None):
    (tmp_path / "tensorflow").mkdir(exist_ok=True)
    package = PACKAGE.format(said=SAID, devices=DEVICES, end=end)
    (tmp_path / "tensorflow" / "__init__.py").write_text(package)
    code = (
        "from scalenet_training.cli.quiet import silence_tensorflow\n"
        "silence_tensorflow()\n"
        "import tensorflow, sys\n"
        "print('later', file=sys.stderr)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{TRAINING}"}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    if level is not None:
        environment["TF_CPP_MIN_LOG_LEVEL"] = level
    process = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    return process.stderr


@pytest.mark.parametrize("level", [None, "2"])
def test_greetings_are_dropped_and_the_rest_is_said(tmp_path, level):
    lines = stderr_of(tmp_path, level=level).splitlines()
    assert [line.partition("] ")[2] for line in lines[:-1]] == [
        "Cannot dlopen some GPU libraries.",
        "failed call to cuInit: (999)",
    ]
    assert lines[-1] == "later"


def test_who_sets_a_level_sees_all(tmp_path):
    lines = stderr_of(tmp_path, level="0").splitlines()
    assert [*map(str.encode, lines[:3])] == SAID.splitlines()


def test_an_import_that_fails_is_said_with_what_came_before(tmp_path):
    said = stderr_of(tmp_path, end="raise ImportError('no library')")
    assert KEPT in said
    assert "ImportError: no library" in said
    assert "later" not in said


@pytest.mark.processes
def test_commands_are_quiet(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(TRAINING)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    process = subprocess.run(
        [sys.executable, "-m", "scalenet_training", "doctor"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    said = process.stderr.splitlines()
    assert all(line.startswith("still at work after") for line in said)
    assert "tensorflow" in process.stdout


def test_deprecations_are_for_the_authors_of_packages(tmp_path):
    said = ["`a.b` is deprecated. Please use c.", "a file is damaged"]
    end = (
        "import logging\n"
        "logging.basicConfig(format='%(message)s')\n"
        "def later():\n"
        "    for name in ('absl', 'tensorflow'):\n"
        f"        for text in {said!r}:\n"
        "            logging.getLogger(name).warning(text)\n"
        "import atexit\n"
        "atexit.register(later)"
    )
    assert stderr_of(tmp_path, end).splitlines()[-2:] == ["a file is damaged"] * 2
    assert "is deprecated" not in stderr_of(tmp_path, end)
