"""What a type checker knows of the public names, in a program that uses them."""

import subprocess
import sys

import pytest
from processes import ROOT, environment

RIGHT = """
import scalenet_tf
from scalenet_tf import HyperScaleNet

network = scalenet_tf.ScaleNet50(weights=None, include_top=False, pooling="avg")
same = scalenet_tf.create_model("ScaleNet50", classes=3, classifier_activation=None)
architecture = scalenet_tf.Architecture(
    name="Mine",
    stem="cifar",
    native_size=32,
    scales=[1, 2, 4],
    stage_widths=[16],
    blocks_per_stage=[1],
    budget_per_stage=None,
    allocation=[[8, 4, 2]],
)
mine = scalenet_tf.ScaleNet(architecture, input_shape=(None, None, 3))
names: list[str] = scalenet_tf.list_models("scalenet*")
macs: int = scalenet_tf.count_macs(scalenet_tf.fold_batch_norm(mine))
report: scalenet_tf.LoadReport = scalenet_tf.load_pytorch_weights(mine, "mine.pth")
levels: list[str] = list(scalenet_tf.feature_pyramid(mine))
search: scalenet_tf.Architecture = HyperScaleNet(classes=3).architecture(None)
"""

# Line -> the part of mypy's message that names the mistake.
WRONG = {
    'scalenet_tf.ScaleNet50(pooling="average")': "\"Literal['average']\"",
    "scalenet_tf.ScaleNet50(clases=3)": '"clases"',
    'scalenet_tf.create_model("ScaleNet50", clases=3)': '"clases"',
    'scalenet_tf.create_model("ScaleNet50", pooling=1)': '"pooling"',
    "scalenet_tf.ScaleNet51()": '"ScaleNet51"',
    "scalenet_tf.HyperScaleNet(clases=3)": '"clases"',
    "scalenet_tf.count_macs()": '"model"',
    'scalenet_tf.list_models(1) + ["a"]': '"list_models"',
    'scalenet_tf.load_architecture("a.json").macs("3")': '"macs"',
}


@pytest.mark.processes
def test_a_program_passes_and_its_mistakes_are_named(tmp_path):
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text("\n".join(["import scalenet_tf", *WRONG]))
    # Silent, as for an installed package: only what the programs do wrong is shown.
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--config-file=", "--no-pretty"),
            *("--follow-imports=silent", f"--cache-dir={ROOT}/.mypy_cache/programs"),
            *("right.py", "wrong.py"),
        ],
        cwd=tmp_path,
        env={**environment(), "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    errors = [line for line in done.stdout.splitlines() if " error: " in line]
    assert not [line for line in errors if "right.py" in line], done.stdout
    found = {int(line.split(":")[1]) - 2: line for line in errors}
    for index, (line, named) in enumerate(WRONG.items()):
        assert named in found.pop(index, ""), (line, done.stdout)
    assert not found
