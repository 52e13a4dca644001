"""The search command: on digits, killed, and shared by a chief and two workers."""

import csv
import json
import os
import pathlib
import platform
import re
import shlex
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import TINY_CIFAR
from processes import ROOT, TRAINING, environment, finish, finish_all, free_ports, start
from scalenet_training.devices.processor import ONEDNN
from scalenet_training.errors import RunError
from scalenet_training.tune.processes import other_process

import scalenet_tf

pytestmark = pytest.mark.processes
TUNE = os.path.join(TRAINING, "tune.py")


@pytest.fixture(scope="module")
def architecture(tmp_path_factory):
    path = tmp_path_factory.mktemp("architecture") / "tiny_cifar.json"
    path.write_text(json.dumps(TINY_CIFAR.to_record()))
    return str(path)


def command(architecture, workdir, trials, *options):
    return [
        TUNE,
        *("--model", architecture, "--workdir", str(workdir)),
        *("--train-split", "train[:96]", "--eval-split", "validation[:40]"),
        *("--batch-size", "16", "--epochs", "1", "--max-trials", str(trials)),
        *options,
    ]


def table(workdir):
    with open(workdir / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def ended(workdir, project="twin"):
    """The trials that have ended, by name."""
    path = workdir / project / "oracle.json"
    trials = json.loads(path.read_text())["trials"] if path.exists() else {}
    return {n: trial for n, trial in trials.items() if trial["status"] == "COMPLETED"}


def test_eight_trials_on_digits_and_the_command_that_trains_the_best(
    architecture, tmp_path
):
    arguments = command(architecture, tmp_path, 8, "--trials-per-process", "5")
    output = finish(start(arguments))
    rows = table(tmp_path)
    assert len(rows) == 8
    target = TINY_CIFAR.twin().macs(10)
    for row in rows:
        assert 0.99 * target <= int(row["macs"]) <= target
        assert float(row["latency_ms"]) > 0
        assert int(row["parameters"]) > 0
    errors = [float(row["validation_error"]) for row in rows]
    assert errors == sorted(errors)
    assert len({row["learning_rate"] for row in rows}) == 8
    best = scalenet_tf.load_architecture(tmp_path / "allocation.json")
    assert best.macs(10) == int(rows[0]["macs"])
    provenance = json.loads((tmp_path / "allocation.json").read_text())["provenance"]
    assert provenance["validation_error"] == errors[0]
    assert provenance["target_macs"] == target
    assert provenance["trials"] == 8
    assert (tmp_path / "tuning.png").stat().st_size > 10_000
    # The last line is a command that works.
    last = output.strip().splitlines()[-1]
    assert last.startswith("python ")
    train = [*shlex.split(last)[1:], "--epochs", "1", "--workdir"]
    finish(start([*train, str(tmp_path / "run")]))
    assert (tmp_path / "run" / "best.keras").is_file()


@pytest.mark.slow
def test_a_family_is_a_network_for_each_budget(architecture, tmp_path):
    arguments = command(architecture, tmp_path, 1, "--budgets", "0.9x", "1.1x")
    output = finish(start(arguments))
    rows = table(tmp_path)
    twin = TINY_CIFAR.twin().macs(10)
    assert [row["budget"] for row in rows] == ["0.9x", "1.1x"]
    for row, ratio in zip(rows, (0.9, 1.1), strict=True):
        assert 0.99 * ratio * twin <= int(row["macs"]) <= ratio * twin
        name = f"allocation-{row['budget']}.json"
        found = scalenet_tf.load_architecture(tmp_path / name)
        assert found.macs(10) == int(row["macs"])
        assert name in output


def test_a_chief_and_two_workers_share_a_search(architecture, tmp_path):
    (port,) = free_ports(1)
    shared = {
        "KERASTUNER_ORACLE_IP": "127.0.0.1",
        "KERASTUNER_ORACLE_PORT": str(port),
    }
    # The workers train in fresh processes meanwhile.
    arguments = command(architecture, tmp_path, 6, "--trials-per-process", "2")
    outputs = finish_all(
        [
            start(arguments, KERASTUNER_TUNER_ID=name, **shared)
            for name in ("chief", "worker0", "worker1")
        ]
    )
    ran = [re.findall(r"trial (\d+):", output) for output in outputs]
    assert not ran[0]
    assert ran[1]
    assert ran[2]
    assert sorted(ran[1] + ran[2]) == [str(number) for number in range(6)]
    assert len(table(tmp_path)) == 6
    assert all("the chief has the results" in output for output in outputs[1:])
    target = TINY_CIFAR.twin().macs(10)
    assert all(0.99 * target <= int(r["macs"]) <= target for r in table(tmp_path))


def test_calls_are_made_in_another_process_and_then_in_a_fresh_one():
    with other_process(2) as call:
        numbers = [call(os.getpid) for _ in range(5)]
        with pytest.raises(ValueError, match="invalid literal for int"):
            call(int, "x")
    assert [numbers[0], numbers[2]] == [numbers[1], numbers[3]]
    assert len({os.getpid(), *numbers}) == 4


class BoundError(Exception):
    def __init__(self, least, most):
        super().__init__(f"Bound of {least}")  # which `pickle` calls it with


def raise_what_cannot_be_made_again():
    raise BoundError(3, 4)


def test_results_and_errors_that_cannot_be_sent_are_errors_of_the_call():
    with other_process(4) as call:
        number = call(os.getpid)
        with pytest.raises(RuntimeError, match="cannot pickle memoryview"):
            call(memoryview, b"")
        with pytest.raises(RuntimeError, match=r"Bound of 3\b") as raised:
            call(raise_what_cannot_be_made_again)
        assert "raise_what_cannot_be_made_again" in str(raised.value)
        with pytest.raises(ValueError, match="invalid literal") as raised:
            call(int, "x")
        assert "In the process of the trials:" in raised.value.__notes__[0]
        assert call(os.getpid) != number


def interrupted_while_it_sleeps(call):
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    call(time.sleep, 60)


def test_an_interrupted_call_is_given_up_and_the_next_one_is_answered():
    with other_process(2) as call:
        number = call(os.getpid)
        with pytest.raises(KeyboardInterrupt):
            interrupted_while_it_sleeps(call)
        assert call(os.getpid) != number


@pytest.mark.skipif(
    platform.machine() != "x86_64", reason="oneDNN is turned on on x86 alone"
)
@pytest.mark.parametrize(("before", "there"), [(None, "1"), ("0", "0")])
def test_trials_compute_by_onednn_unless_the_user_decided(monkeypatch, before, there):
    monkeypatch.delenv(ONEDNN)
    if before is not None:
        monkeypatch.setenv(ONEDNN, before)
    with other_process(1, batch_size=64) as call:
        assert call(os.getenv, ONEDNN) == there


def test_a_process_that_dies_is_an_error():
    with (
        pytest.raises(RunError, match="process of the trials has died"),
        other_process(2) as call,
    ):
        call(os._exit, 3)


CALLER = """
import signal
# A shell without job control starts what is in the background with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
import os, sys, time
from scalenet_training.tune.processes import other_process
if __name__ == "__main__":
    with other_process(2) as call:
        print(call(os.getpid), flush=True)
        call(time.sleep, 60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_other_process_ends_with_its_caller(tmp_path, number):
    (tmp_path / "caller.py").write_text(CALLER)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "caller.py"],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    other = int(process.stdout.readline())
    process.send_signal(number)
    process.wait(timeout=20)
    for _ in range(200):
        if not os.path.exists(f"/proc/{other}"):
            return
        time.sleep(0.1)
    os.kill(other, signal.SIGKILL)
    raise AssertionError("it is still there")


def test_ctrl_c_reaches_the_caller_alone():
    """A terminal sends it to a group; which of two signals comes first is chance."""
    with other_process(2) as call:
        assert call(os.getpgrp) == call(os.getpid) != os.getpgrp()


SAVER = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
import sys, time
from scalenet_training.train.interruption import StopRequest
from scalenet_training.tune.processes import other_process

def train(path):
    with StopRequest() as stop:
        print("trains", flush=True)
        while not stop.came:
            time.sleep(0.01)
        time.sleep(0.5)
        open(path, "w").close()

if __name__ == "__main__":
    with other_process(2) as call:
        call(train, sys.argv[1])
"""


@pytest.mark.parametrize(
    ("send", "number"), [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM)]
)
def test_a_training_saves_before_its_process_ends(tmp_path, send, number):
    """Also where Ctrl-C reaches all processes of a terminal."""
    (tmp_path / "saver.py").write_text(SAVER)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "saver.py", tmp_path / "saved"],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "trains\n"
    send(process.pid, number)
    assert process.wait(timeout=20) != 0
    assert (tmp_path / "saved").exists()


def test_the_ten_lines_of_the_guide_run(tmp_path):
    text = pathlib.Path(ROOT, "docs", "tuning.md").read_text()
    script = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    lines = [line for line in script.splitlines() if line]
    assert len(lines) == 10
    (tmp_path / "script.py").write_text(f"import os\nos.chdir({str(tmp_path)!r})\n")
    with open(tmp_path / "script.py", "a") as file:
        file.write(script)
    output = finish(start([str(tmp_path / "script.py")]))
    macs = int(output.strip().splitlines()[-1].split()[-1])
    assert 0.99 * 20e6 <= macs <= 20e6
