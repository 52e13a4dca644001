"""The README's commands, as they stand there."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import keras
import numpy as np
import pytest
from processes import ROOT, environment, free_ports

README = pathlib.Path(ROOT, "README.md").read_text(encoding="utf-8")
PYTHON = shlex.quote(sys.executable)


def commands(heading):
    """The lines of the first shell block under a heading, joined where they go on."""
    section = README.split(f"\n{heading}\n", 1)[1]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)[1]
    lines = block.replace("\\\n", " ").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def draw_photographs(folder):
    """Dark and bright noise in `photos`, and a bright one to ask about."""
    generator = np.random.default_rng(0)
    for name, low in (("dark", 0), ("bright", 128)):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(40):
            pixels = generator.integers(low, low + 128, (40, 48, 3))
            path = folder / "photos" / name / f"{number}.jpg"
            keras.utils.save_img(path, pixels, scale=False)
    os.rename(path, folder / "photo.jpg")


@pytest.mark.processes
@pytest.mark.timeout(600)
def test_from_training_to_an_answer_of_a_server(tmp_path):
    train, export, serve, predict = commands("## From training to serving")
    for name in ("training", "tests"):
        os.symlink(os.path.join(ROOT, name), tmp_path / name)
    (port,) = free_ports(1)
    draw_photographs(tmp_path)

    def shell(command):
        command = re.sub(r"^python ", f"{PYTHON} ", command).replace("8501", str(port))
        return subprocess.Popen(
            f"exec {command}",
            shell=True,
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def output(command):
        process = shell(command)
        text = process.communicate(timeout=400)[0]
        assert process.returncode == 0, text
        return text

    assert "validation: top-1 error" in output(train)
    assert "savedmodels/photos/1" in output(export)
    server = shell(serve.removesuffix("&").rstrip())
    try:
        # A user sees this line, too, before the next command.
        assert any(line.startswith("port ") for line in server.stdout)
        answer = output(predict)
    finally:
        server.terminate()
        server.communicate(timeout=60)
    first = next(line for line in answer.splitlines() if line.startswith("photo.jpg"))
    assert first.split()[:3] == ["photo.jpg", "1", "bright"]
