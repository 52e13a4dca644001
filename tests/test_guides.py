"""The commands of a guide, as they stand there."""

import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from processes import ROOT, environment

import scalenet_tf

PAGE = pathlib.Path(ROOT, "docs/photographs.md").read_text(encoding="utf-8")


def commands():
    """The lines of the page's shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(1800)
def test_from_a_folder_of_photographs_to_a_file_for_a_phone(tmp_path):
    random = np.random.default_rng(0)
    for number in range(36):
        folder = tmp_path / "photos" / ("birds", "dogs", "vehicles")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (120, 160, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
    shutil.copytree(tmp_path / "photos", tmp_path / "new")
    model = scalenet_tf.ScaleNet50(weights=None, classes=7)
    model.save_weights(tmp_path / "scalenet50.weights.h5")
    outputs = []
    for command in commands():
        name, verb, *words = shlex.split(command)
        assert name == "scalenet"
        if verb == "train":
            words += ["--max-steps", "2"]
        if verb == "export":  # nothing fits the answers of such a network best
            words[words.index("report")] = "1.5"
        ended = subprocess.run(
            [sys.executable, "-m", "scalenet_training", verb, *words],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
        outputs.append(ended.stdout)
    assert "Preset finetune" in outputs[0]
    assert "Preset photos" in outputs[5]
    first, again = (
        (tmp_path / name).read_text().splitlines() for name in ("new.csv", "again.csv")
    )
    assert len(first) == len(again) > 2
    assert (tmp_path / "report/report.html").stat().st_size > 0
    assert (tmp_path / "both.html").stat().st_size > 0
