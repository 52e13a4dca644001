"""Some hundred of the cases of `make fuzz`."""

import subprocess
import sys

import pytest
from processes import TESTS, environment

pytestmark = pytest.mark.processes


def test_damaged_files_and_made_up_options_end_well(tmp_path):
    command = [sys.executable, f"{TESTS}/fuzz.py", "-n", "300", "--seed", "0"]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout
    assert "300 cases in" in result.stdout
