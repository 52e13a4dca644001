"""Commands on a file system without room: they say so, and go on when there is room."""

import json
import os
import subprocess
import sys

import full_disk
import pytest
from processes import TESTS, environment

UNSHARED = ("unshare", "--map-root-user", "--mount")
# Of a run that goes on; each is replaced whole, and fits the other.
GOES_ON = {"run/config.json", "run/metrics.csv", "run/data.txt"}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What happened, by command and by the room that it was left."""
    try:
        subprocess.run([*UNSHARED, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("file systems cannot be mounted here")
    folder = str(tmp_path_factory.mktemp("disk"))
    program = [sys.executable, os.path.join(TESTS, "full_disk.py"), folder]
    done = subprocess.run(
        [*UNSHARED, *program],
        env=environment(PYTHONPATH=os.pathsep.join(sys.path)),
        capture_output=True,
        text=True,
        check=True,
    )
    listed = json.loads(done.stdout.splitlines()[-1])
    return {(one["command"], one["room"]): one for one in listed}


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("room", full_disk.ROOMS)
@pytest.mark.parametrize("command", full_disk.COMMANDS)
def test_a_small_file_system_is_a_message_and_a_pause(command, room, outcomes):
    outcome = outcomes[command, room]
    assert not {*outcome["changed"]} - GOES_ON
    assert (outcome["again"], outcome["said again"]) == (0, "")
    if room == 0:
        assert outcome["code"] == 1
    if outcome["code"] != 0:
        assert outcome["code"] == 1, outcome["said"]
        assert "error: cannot write to" in outcome["said"]
        assert "No space left on device" in outcome["said"]
        assert "{{" not in outcome["said"]
