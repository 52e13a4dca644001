"""Processes that tests start: commands, jobs, and workers of a cluster on loopback.

To import TensorFlow takes seconds of a core. Those that are started in great numbers
are therefore forked from one process that has imported it and done nothing else; the
others are started as a user starts them.
"""

import atexit
import json
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import threading
from unittest import mock

TESTS = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(TESTS)
TRAINING = os.path.join(ROOT, "training")
_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(["scalenet_training.train.loop"])


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def tf_config(ports, index):
    addresses = [f"127.0.0.1:{port}" for port in ports]
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": addresses}, "task": task})


def environment(**more):
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([ROOT, TRAINING]),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        **more,
    }


def start(arguments, **more):
    """Starts a Python program, its output in pipes."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def fork(arguments, **more):
    """Starts a Python file as `start` does, where TensorFlow is imported already."""
    return _Forked(arguments, environment(**more))


class _Forked:
    """What tests use of `subprocess.Popen`."""

    def __init__(self, arguments, variables):
        reader, writer = _FORKING.Pipe(duplex=False)
        self._process = _FORKING.Process(
            target=_run, args=(arguments, variables, writer), daemon=True
        )
        # The first one begins the server, which imports by this environment.
        with mock.patch.dict(os.environ, variables):
            self._process.start()
        writer.close()
        self.stdout = os.fdopen(os.dup(reader.fileno()), encoding="utf-8")
        reader.close()
        self.pid = self._process.pid
        self._said = []
        self._reading = None

    @property
    def returncode(self):
        return self.poll()

    def communicate(self, timeout=None):
        """The rest of the output, and the end."""
        if self._reading is None:  # else it goes on after it was waited for in vain
            self._reading = threading.Thread(target=self._read)
            self._reading.start()
        self._reading.join(timeout)
        if self._reading.is_alive():
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        self._process.join()
        return "".join(self._said), None

    def _read(self):
        with self.stdout:
            self._said.append(self.stdout.read())

    def poll(self):
        return self._process.exitcode

    def send_signal(self, number):
        if self.poll() is None:  # else the number may be another process' by now
            os.kill(self.pid, number)

    def kill(self):
        self._process.kill()


def _run(arguments, variables, writer):
    """What a forked process does: the program, its output into the pipe."""
    os.environ.clear()
    os.environ.update(variables)
    for number in (1, 2):
        os.dup2(writer.fileno(), number)
    sys.argv = list(arguments)
    sys.path.insert(0, os.path.dirname(os.path.abspath(arguments[0])))
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # a forked process ends without


def start_workers(arguments, count=2):
    """Forks a program as all workers of a cluster; the first is the chief."""
    ports = free_ports(count)
    return [fork(arguments, TF_CONFIG=tf_config(ports, i)) for i in range(count)]


def finish(process, code=0, timeout=300):
    """Waits for the end of a process; its output."""
    try:
        output = process.communicate(timeout=timeout)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        output = process.communicate()[0]
        raise AssertionError(f"still running after {timeout} s: {output}") from None
    assert process.returncode == code, f"exit {process.returncode}: {output}"
    return output


def finish_all(processes, code=0, timeout=300):
    try:
        return [finish(process, code, timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
