"""The house: what an import costs, what a wheel holds. `make lint` has the rest."""

import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

import scalenet_tf

ROOT = pathlib.Path(__file__).parent.parent
LIBRARY = ROOT / "scalenet_tf"
TRAINING = ROOT / "training"


@pytest.mark.parametrize(
    "folder",
    sorted({path.parent for top in (LIBRARY, TRAINING) for path in top.rglob("*.py")}),
    ids=lambda folder: str(folder.relative_to(ROOT)),
)
def test_no_folder_has_more_modules_than_can_be_taken_in(folder):
    modules = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    assert len(modules) <= 12


def test_import_pulls_in_no_optional_package():
    code = (
        "import sys, keras, tensorflow\n"
        "before = set(sys.modules)\n"
        "import scalenet_tf, scalenet_tf.export\n"
        "optional = {'keras_tuner', 'tensorflow_datasets', 'matplotlib', 'torch',\n"
        "            'sklearn', 'scipy', 'tyro', 'safetensors', 'PIL',\n"
        "            'tensorflow_serving', 'ai_edge_litert', 'grpc', 'requests',\n"
        "            'onnx', 'onnxruntime', 'openvino', 'tenacity',\n"
        "            'scalenet_tf.serving'}\n"
        "pulled = optional & (set(sys.modules) - before)\n"
        "assert not pulled, pulled\n"
        "import scalenet_tf.serving\n"
        "pulled = {'grpc', 'requests', 'tenacity'} & (set(sys.modules) - before)\n"
        "assert not pulled, pulled\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")


@pytest.mark.processes
def test_importing_the_package_is_enough_for_keras_to_load_its_models(tmp_path):
    scalenet_tf.ScaleNetCifar38().save(tmp_path / "model.keras")
    code = (
        "import scalenet_tf, keras\n"
        "model = keras.saving.load_model('model.keras')\n"
        "assert model.name == 'scalenetcifar38'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_public_names_exist_and_are_documented():
    for name in scalenet_tf.__all__:
        assert getattr(scalenet_tf, name).__doc__, name


def test_no_module_of_training_shadows_another_package():
    standard = sys.stdlib_module_names
    for path in (ROOT / "training").iterdir():
        assert path.stem not in standard


@pytest.mark.processes
def test_a_wheel_works_outside_the_repository(tmp_path):
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    source = tmp_path / "source"
    shutil.copytree(LIBRARY, source / "scalenet_tf")
    shutil.copytree(TRAINING, source / "training")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, str(tmp_path), str(source)],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        assert tops == {
            "scalenet_tf",
            "scalenet_training",
            f"scalenet_tf-{scalenet_tf.__version__}.dist-info",
        }
        for data in (
            "scalenet_tf/py.typed",
            "scalenet_training/pages/page.html",
            "scalenet_training/recipes/shipped/photos.toml",
        ):
            assert data in archive.namelist()
        modules = {name for name in archive.namelist() if name.endswith(".py")}
        assert modules == {
            path.relative_to(folder).as_posix()
            for folder, package in (
                (ROOT, "scalenet_tf"),
                (TRAINING, "scalenet_training"),
            )
            for path in (folder / package).rglob("*.py")
        }
        archive.extractall(tmp_path / "installed")
    code = (
        "import numpy as np, scalenet_tf, scalenet_tf.export\n"
        "assert 'installed' in scalenet_tf.__file__, scalenet_tf.__file__\n"
        "model = scalenet_tf.ScaleNet50(weights=None, input_shape=(64, 64, 3))\n"
        "out = model.predict(np.zeros((1, 64, 64, 3)), verbose=0)\n"
        "names = scalenet_tf.decode_predictions(out)\n"
        "assert len(names[0]) == 5\n"
        "scalenet_tf.ScaleNetCifar38(weights='cifar10')\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "installed")},
    )


def test_a_room_of_the_commands_has_few_modules():
    package = TRAINING / "scalenet_training"
    for room in {path.parent for path in package.rglob("*.py")}:
        modules = {path.stem for path in room.glob("*.py")} - {"__init__"}
        assert len(modules) <= 12, room


@pytest.mark.parametrize(
    "module",
    [
        *("settings.training", "networks.saved_network_config", "tune.config"),
        *("allocate.config", "evaluate.config", "runs.position", "runs.record"),
        *("runs.run_folder", "runs.locking", "tune.roles", "tune.processes"),
        *("overview.config", "overview.tables", "overview.finding"),
        *("recipes.choice", "cli.recipes"),
    ],
)
def test_settings_import_no_tensorflow(module):
    """As a command imports them, for which the library's names wait."""
    code = (
        "from scalenet_training.cli.library import defer_library\n"
        "defer_library()\n"
        f"import sys, scalenet_training.{module}\n"
        "assert not {'tensorflow', 'keras', 'PIL', 'rich.table'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "training")
