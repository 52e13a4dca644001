"""The Python code in the README and the guides compiles, and runs where it can."""

import json
import pathlib
import re

import numpy as np
import pytest
from processes import ROOT

import scalenet_tf
from scalenet_tf.layers import ScaleAggregation

GUIDES = sorted(pathlib.Path(ROOT, "docs").rglob("*.md"))
PAGES = ["README.md", "savedmodels/README.md"]
PAGES += [path.relative_to(ROOT).as_posix() for path in GUIDES]
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
BLOCKS = {
    (page, number): code
    for page in PAGES
    for number, code in enumerate(CODE.findall(pathlib.Path(ROOT, page).read_text()))
}


def nothing():
    return {}


def a_trained_seed_network():
    seed = scalenet_tf.allocation.seed_architecture(
        scalenet_tf.get_architecture("ScaleNetCifar38")
    )
    model = scalenet_tf.ScaleNet(seed)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, ScaleAggregation):
            for norm in layer.norms.values():
                norm.gamma.assign(rng.random(norm.gamma.shape))
    branch = [(1, 0.1), (64, 0.5)]
    branches = [[branch] * len(seed.scales)] * len(seed.stage_widths)
    costs = scalenet_tf.allocation.CostTable(3.0, branches, 10.0)
    pathlib.Path("costs-tflite-1.json").write_text(json.dumps(costs.to_json()))
    return {"seed_architecture": seed, "trained_seed_model": model}


def the_package():
    return {"scalenet_tf": scalenet_tf}


def weights_of_the_network():
    model = scalenet_tf.ScaleNet50()
    model.save_weights("scalenet50.weights.h5")
    return the_package()


# What a block needs in the current folder and takes from the text around it.
RUN = {
    ("docs/index.md", 0): nothing,
    ("docs/allocation.md", 0): a_trained_seed_network,
    ("docs/export.md", 0): nothing,
    ("docs/weights.md", 0): nothing,
    ("docs/weights.md", 1): the_package,
    ("README.md", 0): nothing,
    ("README.md", 1): weights_of_the_network,
}
# Of tens of seconds each: not among the quick tests.
LONG = {("README.md", 0), ("README.md", 1), ("docs/weights.md", 1)}
NOT_RUN = {
    ("docs/tuning.md", 0): "run by test_tune_processes.py",
    (
        "docs/export.md",
        1,
    ): "needs mediapipe; test_tflite_metadata.py has it",
    ("docs/export.md", 2): "run by test_export_formats.py",
    ("docs/kerashub.md", 0): "needs keras-hub; run by test_kerashub.py",
    ("docs/kerashub.md", 1): "needs keras-hub; run by test_kerashub.py",
    ("docs/distributed.md", 0): "needs ray; test_ray.py has it",
    ("docs/data.md", 0): "needs a kind of one's own",
    ("docs/data.md", 1): "a function alone",
    ("docs/data.md", 2): "trains a run; test_augmentation.py has another one",
    ("savedmodels/README.md", 0): "needs a trained run",
    ("savedmodels/README.md", 1): "needs a server",
}


def test_every_block_compiles_and_is_run_or_says_why_not():
    assert BLOCKS.keys() == {*RUN, *NOT_RUN}
    for (page, number), code in BLOCKS.items():
        compile(code, f"{page}, block {number}", "exec")


@pytest.mark.parametrize(
    "block",
    [pytest.param(b, marks=pytest.mark.processes) if b in LONG else b for b in RUN],
    ids=lambda block: f"{block[0]}-{block[1]}",
)
def test_a_block_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = RUN[block]()
    exec(compile(BLOCKS[block], block[0], "exec"), names)
    assert "scalenet_tf" in names or "allocation" in names


LINKED = ["README.md", "CONTRIBUTING.md", "savedmodels/README.md", *PAGES[2:]]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page):
    """What a link to one of the page's headings may end in, as GitHub writes it."""
    headings = re.findall(r"^#+ (.*)$", without_code(page), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    words = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in plain]
    return {heading.strip().replace(" ", "-") for heading in words}


def without_code(page):
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("name", LINKED)
def test_links_lead_somewhere(name):
    page = pathlib.Path(ROOT, name)
    for link in LINK.findall(without_code(page)):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
