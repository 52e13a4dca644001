"""Runs tests in processes of their own, a few tests each, several at a time.

Keras keeps every graph that it has traced, so that a process that tests one deep
network after the other grows until it is killed. Prints a line for each process, with
its seconds and its peak memory, the output of those that failed, and the sums.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time

_PYTEST = [sys.executable, "-m", "pytest", "-p", "no:xdist"]
_GIB = 2**20  # of the kilobytes that the system counts in
_WORDS = ("passed", "failed", "skipped", "error")


@dataclasses.dataclass(frozen=True)
class Result:
    """What a process did."""

    tests: list[str]
    exit_code: int
    seconds: float
    peak_gib: float
    output: str

    def count(self, word: str) -> int:
        """How many tests ended in this way, by pytest's last line."""
        lines = self.output.strip().splitlines()
        found = re.search(rf"(\d+) {word}", lines[-1] if lines else "")
        return int(found[1]) if found else 0


def main() -> int:
    """Runs the tests that the marks select; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-m", dest="marks", required=True, help="as for pytest")
    parser.add_argument("-n", dest="jobs", type=int, default=2, help="at a time")
    parser.add_argument("--most", type=int, default=3, help="tests in a process")
    parser.add_argument("paths", nargs="*", help="files of tests; all without")
    arguments, others = parser.parse_known_args()
    selection = [*others, "-m", arguments.marks, *arguments.paths]
    groups = grouped(collected(selection), arguments.most)
    results = []
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for result in pool.map(lambda tests: run(tests, others), groups):
            results.append(result)
            report(result, f"{len(results)}/{len(groups)}")
    sums = {word: sum(result.count(word) for result in results) for word in _WORDS}
    died = sum(result.exit_code not in (0, 1) for result in results)
    peak = max((result.peak_gib for result in results), default=0.0)
    print(f"largest process {peak:.1f} GiB, {died} processes that ended early")
    failed = sums["failed"] + sums["error"] + died
    print(f"{sums['passed']} passed, {failed} failed, {sums['skipped']} skipped")
    return 1 if failed or not results else 0


def collected(options: list[str]) -> list[str]:
    """The selected tests, as pytest names them."""
    command = [*_PYTEST, "--collect-only", "-q", *options]
    listing = subprocess.run(command, capture_output=True, text=True)
    if listing.returncode:
        sys.exit(listing.stdout + listing.stderr)
    return [line for line in listing.stdout.splitlines() if "::" in line]


def grouped(tests: list[str], most: int) -> list[list[str]]:
    """Tests of one function together, but no more of them than `most`."""
    by_function = itertools.groupby(tests, key=lambda test: test.split("[")[0])
    whole = (list(group) for _, group in by_function)
    return [part for group in whole for part in _parts(group, most)]


def _parts(group: list[str], most: int) -> list[list[str]]:
    return [group[start : start + most] for start in range(0, len(group), most)]


def run(tests: list[str], options: list[str]) -> Result:
    """Runs tests in a process of their own."""
    # As an xdist worker does: one core for each process.
    environment = {"TF_NUM_INTRAOP_THREADS": "1", **os.environ}
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        child = subprocess.Popen(
            [*_PYTEST, "-q", "-m", "", *options, *tests],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    seconds = time.monotonic() - began
    return Result(tests, child.returncode, seconds, usage.ru_maxrss / _GIB, text)


def report(result: Result, progress: str) -> None:
    """A line for a process; all that it printed where it failed."""
    name = result.tests[0].split("[")[0]
    parameters = [test.partition("[")[2].rstrip("]") for test in result.tests]
    listed = f"[{', '.join(parameters)}]" if any(parameters) else ""
    state = "passed" if result.exit_code == 0 else f"exit code {result.exit_code}"
    print(
        f"{progress} {name}{listed}: {state}, {result.seconds:.0f} s, "
        f"{result.peak_gib:.1f} GiB",
        flush=True,
    )
    if result.exit_code:
        print(result.output, flush=True)


if __name__ == "__main__":
    sys.exit(main())
