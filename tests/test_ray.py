"""The example of the guide for Ray Train, as it stands there."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from conftest import TINY_CIFAR
from processes import ROOT, environment, free_ports
from scalenet_training.benchmark.config import LoadConfig
from scalenet_training.benchmark.serving.load import measure_load

PAGE = pathlib.Path(ROOT, "docs/distributed.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(900)
def test_ray_trains_on_two_workers(tmp_path):
    reason = "ray[train] is not installed"
    pytest.importorskip("ray.train", reason=reason, exc_type=ImportError)
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


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(600)
def test_ray_serves_several_clients(exports, tmp_path):
    """The example, for a model that flags what is no image."""
    pytest.importorskip("ray.serve", reason="ray[serve] is not installed")
    shutil.copytree(exports.repository / "tiny/2", tmp_path / "tiny/1")
    (port,) = free_ports(1)
    example = pathlib.Path(ROOT, "examples/ray_serve/app.py")
    process = subprocess.Popen(
        [sys.executable, example, tmp_path / "tiny", "--port", str(port)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert any(line == f"port {port}\n" for line in process.stdout)
        url = f"http://127.0.0.1:{port}/v1/models/tiny"
        images = (str(exports.images),)
        options = {"clients": (1, 4), "requests": 40, "broken_every": 10}
        rows = measure_load(LoadConfig(images, url, **options))
    finally:
        process.terminate()
        process.wait(60)
    assert [(row.failed, row.wrong) for row in rows] == [(0, 0), (0, 0)]
