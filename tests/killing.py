"""Programs that are killed at random moments, again and again, and then left to end."""

import dataclasses
import random
import re
import signal
import time
from collections.abc import Callable
from typing import Any

from processes import finish, fork


@dataclasses.dataclass(frozen=True)
class Program:
    """A command, and what has to hold of the files that it writes.

    Args:
        arguments: Of Python.
        at_work: Pattern of the line from which moments are drawn; `None`: its start.
        begin: Starts it; those that start processes of their own are not forked.
        whole: Checks what a killed process has left.
        ended: Checks what one that ended has left, given its output, and makes room:
            the next has all its work before it.
    """

    arguments: list
    ended: Callable[[str], None]
    whole: Callable[[], None] = lambda: None
    at_work: str | None = None
    begin: Callable[[list], Any] = fork

    def start(self):
        """The process, at work, and what it has printed so far."""
        process, said = self.begin(self.arguments), ""
        while self.at_work and not re.search(self.at_work, said):
            line = process.stdout.readline()
            if not line:  # the end, or an error that `finish` tells of
                break
            said += line
        return process, said


def survive_kills(program, kills, seed=0):
    """Kills a program `kills` times; the same command goes on and ends as undisturbed.

    Moments are drawn so that the work of one undisturbed process lasts for some kills:
    machines differ in speed. A process that ends before its kill is not counted, and
    is one more that ended well.
    """
    process, said = program.start()
    began = time.monotonic()
    program.ended(said + finish(process))
    duration = time.monotonic() - began
    moments, killed = random.Random(seed), 0
    for _ in range(3 * kills + 10):
        if killed == kills:
            break
        process, said = program.start()
        time.sleep(moments.uniform(0, 0.5 * duration))
        process.kill()
        rest = process.communicate()[0]
        if process.returncode == -signal.SIGKILL:
            killed += 1
            program.whole()
        else:
            assert process.returncode == 0, said + rest
            program.ended(said + rest)
    assert killed == kills
    process, said = program.start()
    program.ended(said + finish(process))
