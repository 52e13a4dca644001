"""How much memory a process takes."""

import subprocess
import sys

import numpy as np
from scalenet_training.devices.memory import peak_mebibytes


def test_the_most_memory_is_that_of_the_process_alone():
    """`ru_maxrss` of a process is at least what the one that began it has had."""
    held = np.ones(2**25)  # 256 MiB
    code = (
        "from scalenet_training.devices.memory import peak_mebibytes\n"
        "print(peak_mebibytes())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert 1 < float(done.stdout) < 200 < held.nbytes / 2**20 < peak_mebibytes()
