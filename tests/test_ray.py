"""The example of the guide for Ray Train, as it stands there."""

import json
import pathlib
import re
import subprocess
import sys

import pytest
from conftest import TINY_CIFAR
from processes import ROOT, environment

PAGE = pathlib.Path(ROOT, "docs/distributed.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(900)
def test_ray_trains_on_two_workers(tmp_path):
    pytest.importorskip("ray", reason="ray is not installed")
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "tiny.json").write_text(json.dumps(TINY_CIFAR.to_record()))
    folder = tmp_path / "run"
    settings = f'"model": "{tmp_path}/tiny.json", "workdir": "{folder}"'
    code = code.replace('"workdir": "/shared/run"', settings)
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(PYTHONPATH=":".join(sys.path), RAY_TRAIN_V2_ENABLED="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    record = json.loads((folder / "config.json").read_text())
    assert (record["strategy"], record["workers"]) == ("multiworker", 2)
    (row,) = (folder / "metrics.csv").read_text().splitlines()[1:]
    assert row.startswith("0,")
