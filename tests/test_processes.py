"""What tests start: a forked process is told of as one that was started."""

import signal

import pytest
from processes import finish, fork, start

pytestmark = pytest.mark.processes
PROGRAM = """
import atexit, os, sys, time

atexit.register(lambda: print("bye"))
print(__name__, sys.argv[1:], os.environ["SAID"], flush=True)
time.sleep(0.3)  # not read into one buffer with the line before
print("more", flush=True)
time.sleep(float(sys.argv[1]))
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return str(path)


@pytest.mark.parametrize("begin", [start, fork])
def test_the_output_and_the_end(program, begin):
    output = finish(begin([program, "0", "3"], SAID="so"), code=3)
    assert output == "__main__ ['0', '3'] so\nmore\nbye\n"


@pytest.mark.parametrize("begin", [start, fork])
def test_what_hangs_is_ended_and_its_output_shown(program, begin):
    process = begin([program, "100", "0"], SAID="so")
    assert process.stdout.readline().endswith("so\n")
    with pytest.raises(AssertionError, match="still running after 1 s: more"):
        finish(process, timeout=1)
    assert process.returncode == -signal.SIGKILL
    process.send_signal(signal.SIGKILL)  # of one that has ended: nothing
