"""What the processor can do, and whose kernels TensorFlow uses on it."""

import os
import platform
import subprocess
import sys

import pytest
from processes import TRAINING, environment
from scalenet_training.allocate import command, learning
from scalenet_training.devices.processor import (
    ONEDNN,
    lacks_instructions,
    onednn_state,
    processor_flags,
    processor_name,
    use_onednn,
)

# Prints at the end of a command what it set, and whether TensorFlow took it.
RUN = (
    "import os, runpy, sys\n"
    "sys.argv = sys.argv[1:]\n"
    "try:\n"
    "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
    "finally:\n"
    "    from tensorflow.python.util import _pywrap_util_port as port\n"
    f"    print('oneDNN:', os.environ.get('{ONEDNN}'), port.IsMklEnabled())\n"
)
on_x86 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="oneDNN is turned on on x86 alone"
)


@pytest.fixture
def before_tensorflow(monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow")


@on_x86
@pytest.mark.usefixtures("before_tensorflow")
@pytest.mark.parametrize(
    ("batch_size", "before", "after"),
    [
        (2, {}, {ONEDNN: "1"}),
        (1, {}, {}),  # one image is slower by them
        (64, {ONEDNN: "0"}, {ONEDNN: "0"}),
    ],
)
def test_onednn_is_used_for_batches_unless_the_user_decided(batch_size, before, after):
    use_onednn(batch_size, before)
    assert before == after


def test_nothing_is_set_that_tensorflow_would_not_read():
    values = {}
    use_onednn(64, values)  # TensorFlow is imported already
    assert values == {}


@pytest.mark.usefixtures("before_tensorflow")
def test_other_processors_are_left_as_they_are(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    values = {}
    use_onednn(64, values)
    assert values == {}


@on_x86
@pytest.mark.processes
@pytest.mark.parametrize(
    ("value", "printed"), [(None, "oneDNN: 1 True"), ("0", "oneDNN: 0 False")]
)
def test_train_computes_by_onednn(value, printed, tmp_path):
    variables = {**environment(), ONEDNN: value}
    if value is None:
        del variables[ONEDNN]
    program = [sys.executable, "-c", RUN, os.path.join(TRAINING, "train.py")]
    options = ["--max-steps", "1", "--model", "ResNetCifar38"]
    ran = subprocess.run(
        [*program, *options, "--workdir", os.fspath(tmp_path / "run")],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert printed in ran.stdout


@pytest.mark.parametrize(
    ("options", "uses"),
    [
        ([], [32]),
        (["--target-latency", "twin"], []),  # which is measured as it is served
        (["--target-latency", "twin", "--runtime", "openvino"], [32]),
    ],
)
def test_allocate_trains_by_onednn_unless_it_measures_tensorflow(
    options, uses, monkeypatch
):
    seen = []
    monkeypatch.setattr(command, "use_onednn", lambda size, _: seen.append(size))
    monkeypatch.setattr(learning, "learn_allocation", lambda _: None)
    command.main(options, "scalenet allocate")
    assert seen == uses


def test_no_command_that_decides_imports_tensorflow_before_it_does():
    rooms = ("train", "tune", "allocate", "evaluate", "benchmark")
    names = [f"scalenet_training.{room}.command" for room in rooms]
    names.append("scalenet_training.tune.processes")
    code = f"import sys, {', '.join(names)}; print('tensorflow' in sys.modules)"
    code = f"from scalenet_training.cli import app; app.defer_library(); {code}"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "False\n"


def test_the_flags_are_those_of_the_processor(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx2 fma\n\nprocessor\t: 1\n")
    assert processor_flags(os.fspath(file)) == {"fpu", "avx2", "fma"}
    file.write_text("processor\t: 0\n")
    assert processor_flags(os.fspath(file)) == set()
    assert processor_flags(os.fspath(tmp_path / "none")) == set()


@pytest.mark.parametrize(
    ("kind", "flags", "lacks"),
    [
        ("bfloat16", {"avx2"}, True),
        ("bfloat16", {"avx2", "avx512_bf16"}, False),
        ("bfloat16", {"amx_bf16"}, False),
        ("float16", {"avx512_bf16"}, True),
        ("float16", {"avx512_fp16"}, False),
        ("off", {"avx2"}, False),
        ("bfloat16", set(), False),  # not known
    ],
)
def test_missing_instructions_are_known(kind, flags, lacks):
    assert lacks_instructions(kind, frozenset(flags)) is lacks


def test_the_state_of_onednn_is_said():
    assert onednn_state({ONEDNN: "0"}) == f"{ONEDNN}=0"
    assert onednn_state({}) == "by TensorFlow's default"
    assert onednn_state({ONEDNN: "0"}, training=True) == f"{ONEDNN}=0"


@on_x86
def test_training_is_by_onednn_on_x86():
    assert onednn_state({}, training=True) == f"{ONEDNN}=1"


def test_the_processor_has_a_name(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: A: processor\n")
    assert processor_name(os.fspath(file)) == "A: processor"
    assert processor_name(os.fspath(tmp_path / "none"))
