"""The example of Triton, asked by the client.

Triton's wheel does not go beside this package's: `TRITON_PYTHON` names the Python of an
environment with `nvidia-pytriton` and `tensorflow`.
"""

import os
import pathlib
import shutil
import subprocess

import pytest
from processes import ROOT, free_ports
from scalenet_training.benchmark.config import LoadConfig
from scalenet_training.benchmark.serving.load import measure_load
from test_export import PHOTOS

from scalenet_tf import serving

EXAMPLE = pathlib.Path(ROOT, "examples/triton/app.py")


@pytest.fixture
def url(request, exports, tmp_path):
    """Of a version of the model `tiny`: 2 flags what is no image, 1 refuses it."""
    version = getattr(request, "param", 2)
    if "TRITON_PYTHON" not in os.environ:
        pytest.skip("needs an environment with nvidia-pytriton: TRITON_PYTHON")
    shutil.copytree(
        exports.repository / f"tiny/{version}", tmp_path / f"tiny/{version}"
    )
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [os.environ["TRITON_PYTHON"], EXAMPLE, tmp_path / "tiny", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    try:
        assert any(line == f"port {port}\n" for line in process.stdout)
        yield f"http://127.0.0.1:{port}/v2/models/tiny"
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(600)
def test_triton_answers_as_the_export_itself(url, exports, repository):
    images = [*PHOTOS, b"no image", PHOTOS[0] + bytes(5)]
    with serving.Client(url) as client:
        found = client.predict(images)
        assert [(one.version, one.state) for one in client.status()] == [
            (2, "AVAILABLE")
        ]
        (signature,) = client.metadata().signatures.values()
        with pytest.raises(serving.ModelNotFoundError, match="404"):
            serving.Client(f"{url}/versions/7").predict(images)
    assert signature.outputs["valid"] == serving.TensorSpec("DT_BOOL", (None, 1))
    assert [one.valid for one in found] == [True] * 4 + [False, True]
    outputs = repository.models["tiny"][2].run("serving_bytes", {"image_bytes": images})
    for row, one in enumerate(found):
        if one.valid:
            assert list(one.classes) == outputs["classes"][row].tolist()
            expected = outputs["probabilities"][row][list(one.classes)]
            assert one.probabilities == pytest.approx(expected, abs=1e-6)
    images = (str(exports.images),)
    options = {"clients": (1, 4), "requests": 40, "broken_every": 10}
    rows = measure_load(LoadConfig(images, url, **options))
    assert [(row.failed, row.wrong) for row in rows] == [(0, 0), (0, 0)]


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(600)
@pytest.mark.parametrize("url", [1], indirect=True)
def test_images_that_the_model_refuses_are_named(url):
    """In the traceback that Triton answers with."""
    images = [*PHOTOS, b"no image", PHOTOS[0]]
    with serving.Client(url) as client:
        with pytest.raises(serving.InvalidImageError, match=r"from 0\) 4\.$") as caught:
            client.predict(images)
        assert caught.value.indices == (4,)
        assert len(client.predict(PHOTOS)) == len(PHOTOS)
