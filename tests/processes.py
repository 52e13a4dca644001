"""Processes that tests start: commands, jobs, and workers of a cluster on loopback."""

import json
import os
import socket
import subprocess
import sys

TESTS = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(TESTS)
TRAINING = os.path.join(ROOT, "training")


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


def start_workers(arguments, count=2):
    """Starts a program as all workers of a cluster; the first is the chief."""
    ports = free_ports(count)
    return [start(arguments, TF_CONFIG=tf_config(ports, i)) for i in range(count)]


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
